/* Which dialer a service gets. */
#include "worker/dialers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct world {
    struct loop *loop;
    struct snap_settings settings;
    struct http_budget budget;
    struct http1_context http1;
    struct tcp_context tcp;
    struct tls_shared tls;
    struct snapshot routes, secrets;
    struct http2_context http2;
    struct stats_page *stats;
    struct dialers dialers;
};

static void world_init(struct world *w)
{
    *w = (struct world){.settings = snap_settings_default, .budget = {.max = UINT64_MAX}};
    w->stats = aligned_alloc(64, sizeof(*w->stats));
    memset(w->stats, 0, sizeof(*w->stats));
    assert_int_equal(loop_new(&w->loop), E_OK);
    assert_int_equal(http1_context_init(&w->http1, w->loop, &w->settings, &w->budget), E_OK);
    assert_int_equal(http2_context_init(&w->http2, w->loop, &w->settings, &w->budget, w->stats),
                     E_OK);
    assert_int_equal(tcp_context_init(&w->tcp, w->loop, &w->settings, &w->budget, w->stats), E_OK);
    assert_int_equal(tls_shared_init(&w->tls), E_OK);
    snapshot_init(&w->routes);
    snapshot_init(&w->secrets);
    const struct dialers_parts parts = {.http1 = &w->http1,
                                        .http2 = &w->http2,
                                        .tcp = &w->tcp,
                                        .tls = &w->tls,
                                        .routes = &w->routes,
                                        .secrets = &w->secrets,
                                        .stats = w->stats};
    assert_int_equal(dialers_init(&w->dialers, &parts), E_OK);
}

static void world_fini(struct world *w)
{
    dialers_fini(&w->dialers);
    snapshot_fini(&w->routes);
    snapshot_fini(&w->secrets);
    tls_shared_fini(&w->tls);
    tcp_context_fini(&w->tcp);
    http1_context_fini(&w->http1);
    http2_context_fini(&w->http2);
    loop_free(w->loop);
    free(w->stats);
}

static struct http_dialer *take(struct world *w, const struct snap_service *s)
{
    return w->dialers.upstream.take(&w->dialers.upstream, s);
}

/* All services that are spoken to alike share one, so that a change of endpoints changes nothing
 * for connections. */
static void test_by_protocol(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    struct snap_service http1 = {.protocol = SNAP_HTTP1}, http2 = {.protocol = SNAP_HTTP2};
    struct http_dialer *first = take(&w, &http1), *second = take(&w, &http1);
    assert_ptr_equal(first, second);
    assert_ptr_equal(first, &w.dialers.http1.dialer);
    assert_ptr_equal(take(&w, &http2), &w.dialers.http2.dialer);
    w.dialers.upstream.give(&w.dialers.upstream, first);
    assert_ptr_equal(take(&w, &http1), first);
    for (uint8_t i = 0; i < PROXY_PROTOCOLS_N; i++) {
        struct snap_service tcp = {.protocol = SNAP_TCP, .proxy_protocol = i};
        assert_ptr_equal(take(&w, &tcp), &w.dialers.tcp[i].dialer);
        assert_int_equal(w.dialers.tcp[i].proxy_protocol, i);
        w.dialers.upstream.give(&w.dialers.upstream, take(&w, &tcp));
    }
    world_fini(&w);
}

/* What this worker cannot speak is refused, never spoken to in another way. */
static void test_refused(void **state)
{
    (void)state;
    static const struct snap_service services[] = {
        {.protocol = SNAP_TCP, .is_tls = 1},
    };
    struct world w;
    struct http_conn *conn = NULL;
    const struct ip ip = {
        4, {127, 0, 0, 1}
    };
    world_init(&w);
    for (size_t i = 0; i < sizeof(services) / sizeof(services[0]); i++) {
        struct http_dialer *d = take(&w, &services[i]);
        assert_int_equal(d->dial(d, &ip, 1, NULL, NULL, &conn), E_REFUSED);
        assert_null(conn);
        assert_int_equal(d->conn_n, 0);
    }
    world_fini(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_by_protocol),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
