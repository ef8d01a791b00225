/* admin/explain: manifests in, golden text and the facts out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "admin/explain.h"
#include "base/mem.h"
#include "compile/compile.h"
#include "publish/publish.h"
#include "source/manifest.h"
#include "stats/stats.h"

#include <string.h>
#include <unistd.h>

static const char manifests[] =
    "apiVersion: networking.k8s.io/v1\n"
    "kind: IngressClass\n"
    "metadata: {name: lintel}\n"
    "spec: {controller: lintel.dev/ingress-controller}\n"
    "---\n"
    "apiVersion: networking.k8s.io/v1\n"
    "kind: Ingress\n"
    "metadata: {name: shop}\n"
    "spec:\n"
    "  ingressClassName: lintel\n"
    "  rules:\n"
    "  - host: shop.example.com\n"
    "    http:\n"
    "      paths:\n"
    "      - {path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}\n"
    "      - {path: /cart, pathType: Exact, backend: {service: {name: cart, port: {name: http}}}}\n"
    "  - host: '*.example.com'\n"
    "    http:\n"
    "      paths:\n"
    "      - {path: /api, pathType: Prefix, backend: {service: {name: gone, port: {number: 1}}}}\n"
    "---\n"
    "apiVersion: networking.k8s.io/v1\n"
    "kind: Ingress\n"
    "metadata: {name: foreign}\n"
    "spec:\n"
    "  ingressClassName: nginx\n"
    "  rules:\n"
    "  - host: foreign.test\n"
    "    http:\n"
    "      paths:\n"
    "      - {path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}\n"
    "---\n"
    "apiVersion: networking.k8s.io/v1\n"
    "kind: Ingress\n"
    "metadata:\n"
    "  name: moved\n"
    "  annotations: {nginx.ingress.kubernetes.io/permanent-redirect: 'https://new.test/'}\n"
    "spec:\n"
    "  ingressClassName: lintel\n"
    "  rules:\n"
    "  - host: old.test\n"
    "    http:\n"
    "      paths:\n"
    "      - {path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}\n"
    "---\n"
    "apiVersion: networking.k8s.io/v1\n"
    "kind: Ingress\n"
    "metadata:\n"
    "  name: safe\n"
    "  annotations: {nginx.ingress.kubernetes.io/permanent-redirect: 'https://new.test/'}\n"
    "spec:\n"
    "  ingressClassName: lintel\n"
    "  tls: [{hosts: [safe.test]}]\n"
    "  rules:\n"
    "  - host: safe.test\n"
    "    http:\n"
    "      paths:\n"
    "      - {path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}\n"
    "---\n"
    "apiVersion: networking.k8s.io/v1\n"
    "kind: Ingress\n"
    "metadata:\n"
    "  name: passed\n"
    "  annotations: {nginx.ingress.kubernetes.io/ssl-passthrough: 'true'}\n"
    "spec:\n"
    "  ingressClassName: lintel\n"
    "  rules:\n"
    "  - host: passed.test\n"
    "    http:\n"
    "      paths:\n"
    "      - {path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}\n"
    "  - host: dead.test\n"
    "    http:\n"
    "      paths:\n"
    "      - {path: /, pathType: Prefix, backend: {service: {name: cart, port: {number: 80}}}}\n"
    "---\n"
    "apiVersion: v1\n"
    "kind: Service\n"
    "metadata: {name: web}\n"
    "spec: {ports: [{port: 80, targetPort: 8080}]}\n"
    "---\n"
    "apiVersion: v1\n"
    "kind: Service\n"
    "metadata: {name: cart}\n"
    "spec: {ports: [{name: http, port: 80, targetPort: 8080}]}\n"
    "---\n"
    "apiVersion: discovery.k8s.io/v1\n"
    "kind: EndpointSlice\n"
    "metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}\n"
    "addressType: IPv4\n"
    "ports: [{port: 8080}]\n"
    "endpoints:\n"
    "- {addresses: [10.0.0.2], nodeName: n1, zone: z, targetRef: {kind: Pod, name: web-b}}\n"
    "- {addresses: [10.0.0.1], targetRef: {kind: Pod, name: web-a}}\n"
    "- {addresses: [10.0.0.3], conditions: {ready: false}, targetRef: {kind: Pod, name: web-c}}\n"
    "---\n"
    "apiVersion: discovery.k8s.io/v1\n"
    "kind: EndpointSlice\n"
    "metadata: {name: cart-1, labels: {kubernetes.io/service-name: cart}}\n"
    "addressType: IPv4\n"
    "ports: [{name: http, port: 8080}]\n"
    "endpoints:\n"
    "- {addresses: [10.0.1.1], conditions: {ready: false, serving: false, terminating: true}}\n";

struct scene {
    struct store *store;
    struct compile *compile;
    struct stats_area *stats;
    struct publish *publish;
    struct explain_world world;
    struct buf out;
};

static bool is_ours(const void *arg, const struct ingress *ingress, const char **ret_why)
{
    return compile_is_ours(arg, ingress, ret_why);
}

static void put(void *arg, struct object *o)
{
    struct scene *s = arg;
    assert_int_equal(store_put(s->store, o), E_OK);
}

static void refuse(void *arg, const struct diag *d)
{
    (void)arg;
    fail_msg("%.*s %.*s", STR_ARG(d->what), STR_ARG(d->why));
}

static int make_scene(void **state)
{
    static struct scene s; /* NOLINT: the fixture of this file */
    static const struct compile_options options = {.controller =
                                                       STR_INIT("lintel.dev/ingress-controller"),
                                                   .ingress_class = STR_INIT("lintel"),
                                                   .has_passthrough = true};
    bool is_new;
    int fd;
    s = (struct scene){0};
    assert_int_equal(store_new(&s.store), E_OK);
    assert_int_equal(compile_new(s.store, &options, &s.compile), E_OK);
    assert_int_equal(stats_create(0, &s.stats, &fd), E_OK);
    close(fd);
    struct publish_options p = {.control_fd = -1, .stats = s.stats};
    assert_int_equal(publish_new(&p, &s.publish), E_OK);
    assert_int_equal(manifest_parse(STR("m.yaml"), str_from_cstr(manifests), put, refuse, &s),
                     E_OK);
    assert_int_equal(compile_run(s.compile, publish_add, s.publish), E_OK);
    assert_int_equal(publish_commit(s.publish, true, &is_new), E_OK);
    s.world = (struct explain_world){.snapshot = publish_state(s.publish),
                                     .store = s.store,
                                     .is_ours = is_ours,
                                     .is_ours_arg = s.compile};
    buf_init(&s.out, 1 << 20);
    *state = &s;
    return 0;
}

static int free_scene(void **state)
{
    struct scene *s = *state;
    buf_fini(&s->out);
    publish_free(s->publish);
    compile_free(s->compile);
    store_free(s->store);
    stats_close(s->stats);
    return 0;
}

static void start(struct scene *s, struct explanation *e, struct explain_request *r,
                  const char *url)
{
    *r = (struct explain_request){.method = STR("GET")};
    assert_int_equal(explain_request_set_url(r, str_from_cstr(url)), E_OK);
    assert_int_equal(explain_init(e, &s->world, r), E_OK);
}

static void expect_text(struct scene *s, const char *url, const char *text)
{
    struct explanation e;
    struct explain_request r;
    start(s, &e, &r, url);
    buf_reset(&s->out);
    explain_emit_text(&s->out, &e, false);
    assert_false(s->out.bad);
    buf_add_char(&s->out, 0);
    assert_string_equal(s->out.p, text);
    explain_fini(&e);
}

static void a_request_that_is_served(void **state)
{
    expect_text(*state, "http://SHOP.example.com:8080/a/../b?x=1",
                "GET SHOP.example.com:8080/a/../b?x=1\n"
                "-> Service default/web, port 80: one of 2 endpoints\n"
                "\n"
                "  listener   http, table ingress\n"
                "  host       shop.example.com\n"
                "  path       /b\n"
                "  matched    shop.example.com Prefix /\n"
                "  rule       Ingress default/shop spec.rules[0].http.paths[0]  m.yaml:15\n"
                "  backend    Service default/web, port 80, by http\n"
                "    10.0.0.1:8080             pod web-a  slice web-1\n"
                "    10.0.0.2:8080             pod web-b  slice web-1  node n1  zone z\n"
                "    10.0.0.3                  not ready  pod web-c  slice web-1\n"
                "\n"
                "  Rules that lose:\n"
                "    path differs: shop.example.com Exact /cart  Ingress default/shop "
                "spec.rules[0].http.paths[1]  m.yaml:16\n"
                "    path differs: *.example.com Prefix /api  Ingress default/shop "
                "spec.rules[1].http.paths[0]  m.yaml:20\n");
}

static void no_endpoint_can_be_used(void **state)
{
    struct scene *s = *state;
    struct explanation e;
    struct explain_request r;
    start(s, &e, &r, "shop.example.com/cart");
    assert_int_equal(e.reason, REASON_no_endpoints);
    assert_int_equal(e.status, 503);
    assert_int_equal(e.backend_n, 1);
    assert_int_equal(e.backends[0].usable_n, 0);
    assert_int_equal(e.backends[0].endpoint_n, 1);
    assert_string_equal(e.backends[0].endpoints[0].why_not, "terminating");
    /* The loser that would have matched comes before those that would not. */
    assert_int_equal(e.candidates[0].verdict, ROUTE_WON);
    assert_int_equal(e.candidates[1].verdict, ROUTE_LESS_SPECIFIC);
    explain_fini(&e);
}

static void a_service_that_is_missing(void **state)
{
    struct scene *s = *state;
    struct explanation e;
    struct explain_request r;
    start(s, &e, &r, "other.example.com/api/x");
    assert_int_equal(e.reason, REASON_no_endpoints);
    assert_true(str_eq(e.backends[0].name, STR("gone")));
    assert_int_equal(e.backends[0].service->status, SNAP_SERVICE_MISSING);
    explain_fini(&e);
}

static void a_redirect(void **state)
{
    struct scene *s = *state;
    struct explanation e;
    struct explain_request r;
    start(s, &e, &r, "old.test");
    assert_int_equal(e.reason, REASON_redirect);
    assert_int_equal(e.status, 301);
    explain_fini(&e);
}

/* The text has this, or has it not. */
static void expect_part(struct scene *s, struct explain_request *r, const char *url,
                        const char *part)
{
    struct explanation e;
    assert_int_equal(explain_request_set_url(r, str_from_cstr(url)), E_OK);
    assert_int_equal(explain_init(&e, &s->world, r), E_OK);
    buf_reset(&s->out);
    explain_emit_text(&s->out, &e, false);
    buf_add_char(&s->out, 0);
    assert_false(s->out.bad);
    if (strstr(s->out.p, part) == NULL) {
        fail_msg("no \"%s\" in:\n%s", part, s->out.p);
    }
    explain_fini(&e);
}

static void a_redirect_to_https(void **state)
{
    struct scene *s = *state;
    struct explain_request r = {.method = STR("GET")};
    expect_part(s, &r, "http://safe.test:80/a/?b",
                "-> 308 redirect: The route answers with a redirect.\n"
                "\n"
                "  listener   http, table ingress\n");
    expect_part(s, &r, "http://safe.test:80/a/?b",
                "  filter     ssl_redirect 308 to https://safe.test/a/?b: the host has TLS, and "
                "--ssl-redirect is on\n"
                "  filter     redirect 301 to https://new.test/: not reached\n");
    expect_part(s, &r, "http://safe.test/.well-known/acme-challenge/x",
                "ssl_redirect 308: passes, the path is one of --no-tls-redirect-locations\n"
                "  filter     redirect 301 to https://new.test/\n");
    expect_part(s, &r, "https://safe.test/",
                "  listener   https, table ingress\n"
                "  host       safe.test\n");
    expect_part(s, &r, "https://safe.test/", "ssl_redirect 308: passes, the client uses https\n");
    expect_part(s, &r, "http://safe.test/",
                "  filter     hsts max-age=31536000: passes, the client does not use https\n");
    expect_part(s, &r, "https://safe.test/", "  filter     hsts max-age=31536000\n");
}

/* Which of listener and scheme the user does not say follows from the other. */
static void listener_and_scheme_go_together(void **state)
{
    struct scene *s = *state;
    struct explain_request r = {.method = STR("GET"), .listener = STR("http")};
    expect_part(s, &r, "https://safe.test/",
                "  listener   http, table ingress, for a client that uses https\n");
    r = (struct explain_request){.method = STR("GET"), .listener = STR("https")};
    expect_part(s, &r, "safe.test/", "ssl_redirect 308: passes, the client uses https\n");
    r = (struct explain_request){.method = STR("GET")};
    expect_part(s, &r, "safe.test/", "-> 308 redirect");
    expect_part(s, &r, "safe.test/", "  listener   http, table ingress\n");
}

/* By https there is no route; by http there is. */
static void tls_that_is_passed_through(void **state)
{
    struct scene *s = *state;
    struct explain_request r = {.method = STR("GET")};
    expect_part(s, &r, "https://Passed.test:443/a",
                "-> Service default/web, port 80: one of 2 endpoints\n"
                "\n"
                "  listener   https, table ingress\n"
                "  host       passed.test\n"
                "  path       /a\n"
                "  tls        passed through as it is, by the name in the handshake: no route, no "
                "filter\n"
                "  backend    Service default/web, port 80, by tcp\n"
                "    10.0.0.1:8080             pod web-a  slice web-1\n");
    expect_part(s, &r, "https://dead.test/",
                "-> connection closed, no_endpoints: The service has no endpoint that could "
                "take the request.\n");
    expect_part(s, &r, "http://passed.test/a", "  matched    passed.test Prefix /\n");
    r = (struct explain_request){.method = STR("GET"), .listener = STR("http")};
    expect_part(s, &r, "https://passed.test/a", "  matched    passed.test Prefix /\n");
}

static void passthrough_for_programs(void **state)
{
    struct scene *s = *state;
    struct explanation e;
    struct explain_request r;
    start(s, &e, &r, "https://passed.test/");
    assert_true(e.is_passed_through && e.winner == NULL && e.reason == REASON_none);
    assert_int_equal(e.status, 0);
    buf_reset(&s->out);
    explain_emit_json(&s->out, &e);
    buf_add_char(&s->out, 0);
    assert_non_null(strstr(s->out.p, "\"isPassedThrough\": true"));
    assert_non_null(strstr(s->out.p, "\"protocol\": \"tcp\""));
    explain_fini(&e);
    start(s, &e, &r, "http://passed.test/");
    assert_true(!e.is_passed_through && e.winner != NULL);
    explain_fini(&e);
}

static void a_class_that_is_not_ours(void **state)
{
    struct scene *s = *state;
    struct explanation e;
    struct explain_request r;
    start(s, &e, &r, "foreign.test/");
    assert_int_equal(e.reason, REASON_no_route);
    assert_int_equal(e.miss_n, 1);
    assert_true(str_eq(e.misses[0].owner.name, STR("foreign")));
    assert_non_null(e.misses[0].why);
    explain_fini(&e);
}

static void a_host_with_a_typing_mistake(void **state)
{
    struct scene *s = *state;
    struct explanation e;
    struct explain_request r;
    start(s, &e, &r, "old.tset/");
    assert_int_equal(e.reason, REASON_no_route);
    assert_int_equal(e.miss_n, 1);
    assert_true(str_eq(e.misses[0].host, STR("old.test")));
    explain_fini(&e);
}

static void a_request_that_is_none(void **state)
{
    expect_text(*state, "http://bad host/",
                "GET bad host/\n"
                "-> 400 bad_request: The request is malformed.\n"
                "\n"
                "  listener   http\n");
}

static void urls(void **state)
{
    static const struct {
        const char *url, *authority, *target; /* NULL: refused */
    } cases[] = {
        {"http://a",        "a",        "/"   },
        {"https://a/b?c#d", "a",        "/b?c"},
        {"a:80/b",          "a:80",     "/b"  },
        {"/x",              "",         "/x"  },
        {"a?x",             NULL,       NULL  },
        {"#",               NULL,       NULL  },
        {"",                NULL,       NULL  },
        {"http://",         NULL,       NULL  },
        {"ftp://a/",        NULL,       NULL  },
        {"[::1]:80/",       "[::1]:80", "/"   },
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct explain_request r = {0};
        enum err e = explain_request_set_url(&r, str_from_cstr(cases[i].url));
        assert_int_equal(e, cases[i].authority == NULL ? E_PROTO : E_OK);
        if (e == E_OK) {
            assert_true(str_eq(r.authority, str_from_cstr(cases[i].authority)));
            assert_true(str_eq(r.target, str_from_cstr(cases[i].target)));
        }
    }
}

/* Whatever allocation fails, nothing is lost and nothing crashes. */
static void out_of_memory(void **state)
{
    struct scene *s = *state;
    enum err e = E_NOMEM;
    for (size_t n = 1; e != E_OK; n++) {
        struct explanation x;
        struct explain_request r = {.listener = STR("http"), .method = STR("GET")};
        assert_int_equal(explain_request_set_url(&r, STR("shop.example.com/b")), E_OK);
        mem_fail_from(n);
        e = explain_init(&x, &s->world, &r);
        mem_fail_from(0);
        if (e == E_OK) {
            assert_true(n > 1);
            explain_fini(&x);
        }
    }
}

static void control_characters_cannot_steer_the_terminal(void **state)
{
    struct scene *s = *state;
    struct explanation e;
    struct explain_request r;
    start(s, &e, &r, "a.test/\033[2J");
    buf_reset(&s->out);
    explain_emit_text(&s->out, &e, false);
    assert_int_equal(str_find(buf_str(&s->out), '\033'), s->out.n);
    explain_fini(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_that_is_served),
        cmocka_unit_test(no_endpoint_can_be_used),
        cmocka_unit_test(a_service_that_is_missing),
        cmocka_unit_test(a_redirect),
        cmocka_unit_test(a_redirect_to_https),
        cmocka_unit_test(listener_and_scheme_go_together),
        cmocka_unit_test(tls_that_is_passed_through),
        cmocka_unit_test(passthrough_for_programs),
        cmocka_unit_test(a_class_that_is_not_ours),
        cmocka_unit_test(a_host_with_a_typing_mistake),
        cmocka_unit_test(a_request_that_is_none),
        cmocka_unit_test(urls),
        cmocka_unit_test(out_of_memory),
        cmocka_unit_test(control_characters_cannot_steer_the_terminal),
    };
    return cmocka_run_group_tests(tests, make_scene, free_scene);
}
