/* controller/ocsp: certificates on one end, responses on the other, and a responder in between that
 * says what a test wants, in the same loop. */
#include "controller/ocsp.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../lib/pki.h"
#include "../../lib/snapshot_make.h"
#include "base/mem.h"
#include "log/log.h"
#include "snapshot/write.h"
#include "tls/library.h"

enum { CONNS_MAX = 64, REQUEST_MAX = 4096, STEPS_MAX = 20000, DIAGS_MAX = 64 };

struct conn {
    int fd; /* -1: free */
    char bytes[REQUEST_MAX];
    size_t n;
};

struct scene {
    struct loop *loop;
    struct stats_area *stats;
    struct publish *publish;
    struct store *store;
    struct ocsp_options options;
    struct ocsp *ocsp;
    size_t due_n, told_n;
    char told[256]; /* the last diagnostic's what and why */

    struct pki authority, leaf, other;
    int64_t now;

    int listener;
    uint16_t port;
    struct conn conns[CONNS_MAX];
    size_t asked_n;
    struct str answer; /* DER; n = 0: none comes */
    int status;
};

/* ---- the responder ---- */

static void listen_begin(struct scene *s)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof(a);
    s->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(s->listener, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(listen(s->listener, CONNS_MAX), 0);
    assert_int_equal(getsockname(s->listener, (struct sockaddr *)&a, &n), 0);
    s->port = ntohs(a.sin_port);
    for (size_t i = 0; i < CONNS_MAX; i++) {
        s->conns[i].fd = -1;
    }
}

static struct conn *conn_free(struct scene *s)
{
    for (size_t i = 0; i < CONNS_MAX; i++) {
        if (s->conns[i].fd < 0) {
            return &s->conns[i];
        }
    }
    fail();
    return NULL;
}

static bool is_whole(const struct conn *c)
{
    const char *body = memmem(c->bytes, c->n, "\r\n\r\n", 4);
    const char *length = memmem(c->bytes, c->n, "Content-Length: ", 16);
    return body != NULL && length != NULL &&
           c->n >= (size_t)(body + 4 - c->bytes) + strtoul(length + 16, NULL, 10);
}

static void conn_answer(struct scene *s, struct conn *c)
{
    char head[256];
    int n = snprintf(head, sizeof(head), "HTTP/1.1 %d X\r\nContent-Length: %zu\r\n\r\n", s->status,
                     s->answer.n);
    assert_int_equal(send(c->fd, head, (size_t)n, MSG_NOSIGNAL), n);
    assert_int_equal(send(c->fd, s->answer.p, s->answer.n, MSG_NOSIGNAL), s->answer.n);
    (void)close(c->fd);
    c->fd = -1;
}

static void conn_step(struct scene *s, struct conn *c)
{
    bool was_whole = is_whole(c);
    ssize_t n = recv(c->fd, c->bytes + c->n, sizeof(c->bytes) - 1 - c->n, MSG_DONTWAIT);
    if (n == 0) {
        (void)close(c->fd);
        c->fd = -1;
        return;
    }
    c->n += n > 0 ? (size_t)n : 0;
    c->bytes[c->n] = '\0';
    if (is_whole(c)) {
        s->asked_n += !was_whole;
        if (s->status != 0) {
            conn_answer(s, c);
        }
    }
}

static void step(struct scene *s)
{
    assert_int_equal(loop_step(s->loop, USEC_PER_MS), E_OK);
    for (int fd; (fd = accept4(s->listener, NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
        struct conn *c = conn_free(s);
        *c = (struct conn){.fd = fd};
    }
    for (size_t i = 0; i < CONNS_MAX; i++) {
        if (s->conns[i].fd >= 0) {
            conn_step(s, &s->conns[i]);
        }
    }
}

/* ---- the controller around it ---- */

static void commit(struct scene *s)
{
    bool is_new;
    assert_int_equal(ocsp_settle(s->ocsp), E_OK);
    assert_int_equal(publish_commit(s->publish, false, &is_new), E_OK);
}

static void on_due(void *arg)
{
    struct scene *s = arg;
    s->due_n++;
}

static void on_diag(void *arg, const struct diag *d)
{
    struct scene *s = arg;
    s->told_n++;
    assert_true(str_eq(d->kind, STR("Secret")));
    (void)snprintf(s->told, sizeof(s->told), "%s %.*s: %.*s", diag_reason_name(d->reason),
                   STR_ARG(d->what), STR_ARG(d->why));
}

static enum err ocsp_open(struct scene *s)
{
    const struct ocsp_parts parts = {.loop = s->loop,
                                     .store = s->store,
                                     .publish = s->publish,
                                     .options = &s->options,
                                     .on_due = on_due,
                                     .on_diag = on_diag,
                                     .arg = s};
    return ocsp_new(&parts, &s->ocsp);
}

static void see(struct scene *s, struct buf *b)
{
    const struct snap_shard *shard = snap_at(b, 0, const struct snap_shard);
    assert_int_equal(snap_shard_end(b), E_OK);
    assert_int_equal(ocsp_see(s->ocsp, shard), E_OK);
    assert_int_equal(publish_add(s->publish, snap_at(b, 0, const struct snap_shard)), E_OK);
    buf_fini(b);
}

static void see_certificate(struct scene *s, const char *key, const struct pki *leaf)
{
    static const char hex[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    struct buf b;
    struct str ders[] = {pki_der(leaf), pki_der(&s->authority)}, ns, name;
    buf_init(&b, 1 << 20);
    snap_shard_begin(&b, SNAP_CERTIFICATE, sizeof(struct snap_certificate), str_from_cstr(key));
    (void)str_cut(str_from_cstr(key), '/', &ns, &name);
    struct snap_certificate c = {.namespace_name = snap_add_str(&b, ns),
                                 .name = snap_add_str(&b, name),
                                 .key_name = snap_add_str(&b, STR(hex)),
                                 .key_hash = hash_str(STR(hex)),
                                 .key_kind = SNAP_KEY_EC};
    struct snap_str texts[2] = {snap_add_str(&b, ders[0]), snap_add_str(&b, ders[1])};
    c.chain = snap_add_array(&b, 2, sizeof(struct snap_str));
    c.names = snap_add_array(&b, 0, sizeof(struct snap_str));
    memcpy(snap_at(&b, c.chain.offset, struct snap_str), texts, sizeof(texts));
    c.shard = *snap_at(&b, 0, struct snap_shard);
    *snap_at(&b, 0, struct snap_certificate) = c;
    see(s, &b);
    pki_der_free(&ders[0]);
    pki_der_free(&ders[1]);
}

static void see_deleted(struct scene *s, const char *key)
{
    struct buf b;
    buf_init(&b, 4096);
    snap_shard_deleted(&b, SNAP_CERTIFICATE, str_from_cstr(key));
    see(s, &b);
}

static void see_switch(struct scene *s, bool is_on)
{
    struct buf b;
    buf_init(&b, 1 << 20);
    assert_int_equal(make_global(&b, "ingress"), E_OK);
    snap_at(&b, 0, struct snap_global)->settings.enable_ocsp = is_on;
    see(s, &b);
}

static const struct snap_staple *staple(const struct scene *s, const char *key)
{
    struct str k = str_from_cstr(key);
    const struct snapshot_entry *e =
        snapshot_find(publish_state(s->publish), SNAP_STAPLE, k, hash_str(k));
    return e == NULL ? NULL : (const struct snap_staple *)(const void *)e->shard;
}

static uint64_t metric(const struct scene *s, const char *name)
{
    struct buf b;
    buf_init(&b, 1 << 20);
    ocsp_emit_metrics(s->ocsp, &b);
    buf_add_char(&b, '\0');
    const char *at = strstr(b.p, name);
    assert_non_null(at);
    uint64_t value = strtoul(at + strlen(name), NULL, 10);
    buf_fini(&b);
    return value;
}

/* Until what was handed over is committed. */
static void step_until_due(struct scene *s)
{
    for (int i = 0; i < STEPS_MAX && s->due_n == 0; i++) {
        step(s);
    }
    assert_true(s->due_n > 0);
    s->due_n = 0;
    commit(s);
}

static void answer_set(struct scene *s, const struct pki *leaf, int status, long until)
{
    const struct pki_response r = {
        .status = status, .from_s = s->now - 60, .until_s = s->now + until};
    pki_der_free(&s->answer);
    s->answer = pki_respond(&r, leaf->x, &s->authority);
    s->status = 200;
}

static void stapled(struct scene *s)
{
    see_certificate(s, "shop/a", &s->leaf);
    see_switch(s, true);
    commit(s);
    step_until_due(s);
    assert_non_null(staple(s, "shop/a"));
}

static int open_scene(void **state)
{
    struct scene *s = calloc(1, sizeof(*s));
    char access[64];
    int fd;
    log_init("test", LOG_ERROR);
    listen_begin(s);
    s->now = (int64_t)time(NULL);
    s->answer = (struct str){NULL, 0};
    s->authority = pki_make(&(struct pki_options){.name = "A", .is_authority = true}, NULL);
    (void)snprintf(access, sizeof(access), "OCSP;URI:http://127.0.0.1:%u/", s->port);
    const struct pki_options leaf = {.name = "a.test", .access = access};
    s->leaf = pki_make(&leaf, &s->authority);
    s->other = pki_make(&leaf, &s->authority);
    assert_int_equal(loop_new(&s->loop), E_OK);
    assert_int_equal(stats_create(1, &s->stats, &fd), E_OK);
    (void)close(fd);
    assert_int_equal(store_new(&s->store), E_OK);
    const struct publish_options publish = {.control_fd = -1, .stats = s->stats};
    assert_int_equal(publish_new(&publish, &s->publish), E_OK);
    s->options.responder_n = 1;
    assert_int_equal(ip_prefix_parse(STR("127.0.0.0/8"), &s->options.responders[0]), E_OK);
    assert_int_equal(ocsp_open(s), E_OK);
    answer_set(s, &s->leaf, V_OCSP_CERTSTATUS_GOOD, 3600);
    *state = s;
    return 0;
}

static int close_scene(void **state)
{
    struct scene *s = *state;
    ocsp_free(s->ocsp);
    publish_free(s->publish);
    store_free(s->store);
    loop_free(s->loop);
    stats_close(s->stats);
    for (size_t i = 0; i < CONNS_MAX; i++) {
        if (s->conns[i].fd >= 0) {
            (void)close(s->conns[i].fd);
        }
    }
    (void)close(s->listener);
    pki_der_free(&s->answer);
    pki_free(&s->authority);
    pki_free(&s->leaf);
    pki_free(&s->other);
    free(s);
    return 0;
}

/* ---- tests ---- */

static void a_response_is_published(void **state)
{
    struct scene *s = *state;
    stapled(s);
    const struct snap_staple *staple_now = staple(s, "shop/a");
    assert_true(str_eq(snap_str_get(staple_now, staple_now->response), s->answer));
    assert_int_equal(staple_now->until, s->now + 3600);
    assert_int_equal(s->asked_n, 1);
    assert_int_equal(s->told_n, 0);
    assert_int_equal(metric(s, "result=\"ok\"} "), 1);
    assert_int_equal(metric(s, "state=\"stapled\"} "), 1);
    assert_int_equal(metric(s, "state=\"followed\"} "), 1);
    assert_int_equal(metric(s, "state=\"waiting\"} "), 0);
}

static void nobody_is_asked_while_it_is_off(void **state)
{
    struct scene *s = *state;
    see_certificate(s, "shop/a", &s->leaf);
    see_switch(s, false);
    commit(s);
    for (int i = 0; i < 100; i++) {
        step(s);
    }
    assert_int_equal(s->asked_n, 0);
    see_switch(s, true);
    commit(s);
    step_until_due(s);
    assert_non_null(staple(s, "shop/a"));
    see_switch(s, false);
    commit(s);
    assert_null(staple(s, "shop/a")); /* in the same generation */
    assert_int_equal(metric(s, "state=\"followed\"} "), 0);
}

static void a_revoked_one_is_told(void **state)
{
    struct scene *s = *state;
    answer_set(s, &s->leaf, V_OCSP_CERTSTATUS_REVOKED, 3600);
    stapled(s);
    assert_int_equal(s->told_n, 1);
    assert_non_null(strstr(s->told, "CertificateRevoked is revoked"));
    ocsp_each_diag(s->ocsp, on_diag, s);
    assert_int_equal(s->told_n, 2);
}

static void a_change_of_the_certificate_takes_it_away(void **state)
{
    struct scene *s = *state;
    stapled(s);
    see_certificate(s, "shop/a", &s->other);
    s->status = 0; /* the responder hangs */
    commit(s);
    assert_null(staple(s, "shop/a"));
    answer_set(s, &s->other, V_OCSP_CERTSTATUS_GOOD, 3600);
    step_until_due(s);
    assert_non_null(staple(s, "shop/a"));
}

/* While a question about the one before is under way: its answer does not count. */
static void a_change_while_it_is_asked(void **state)
{
    struct scene *s = *state;
    s->status = 0;
    see_certificate(s, "shop/a", &s->leaf);
    see_switch(s, true);
    commit(s);
    while (s->asked_n == 0) {
        step(s);
    }
    see_certificate(s, "shop/a", &s->other);
    commit(s);
    answer_set(s, &s->other, V_OCSP_CERTSTATUS_GOOD, 3600);
    step_until_due(s);
    assert_non_null(staple(s, "shop/a"));
    assert_int_equal(metric(s, "result=\"failed\"} "), 0);
}

static void it_goes_with_the_certificate(void **state)
{
    struct scene *s = *state;
    stapled(s);
    see_deleted(s, "shop/a");
    see_deleted(s, "shop/never-was");
    commit(s);
    assert_null(staple(s, "shop/a"));
    assert_int_equal(metric(s, "state=\"stapled\"} "), 0);
    assert_int_equal(metric(s, "state=\"followed\"} "), 0);
}

/* Seen, but the commit did not work out: not before it did. */
static void what_is_not_committed_is_not_asked_about(void **state)
{
    struct scene *s = *state;
    see_certificate(s, "shop/a", &s->leaf);
    see_switch(s, true);
    assert_int_equal(ocsp_settle(s->ocsp), E_OK);
    for (int i = 0; i < 20; i++) {
        step(s);
    }
    assert_int_equal(s->asked_n, 0);
    commit(s);
    step_until_due(s);
    assert_non_null(staple(s, "shop/a"));
}

static void questions_at_a_time(void **state)
{
    struct scene *s = *state;
    char key[64];
    s->status = 0;
    for (int i = 0; i < 8; i++) {
        (void)snprintf(key, sizeof(key), "shop/a%d", i);
        see_certificate(s, key, &s->leaf);
    }
    see_switch(s, true);
    commit(s);
    for (int i = 0; i < 200; i++) {
        step(s);
    }
    assert_int_equal(s->asked_n, OCSP_QUESTIONS_PER_NAMESPACE);
    for (int i = 0; i < 20; i++) {
        (void)snprintf(key, sizeof(key), "n%d/a", i);
        see_certificate(s, key, &s->leaf);
    }
    commit(s);
    for (int i = 0; i < 200; i++) {
        step(s);
    }
    assert_int_equal(s->asked_n, OCSP_QUESTIONS_MAX);
    assert_int_equal(metric(s, "state=\"waiting\"} "), 28 - OCSP_QUESTIONS_MAX);
    s->status = 200; /* the rest has its turn */
    for (int i = 0; i < STEPS_MAX && metric(s, "state=\"stapled\"} ") < 28; i++) {
        step(s);
    }
    assert_int_equal(metric(s, "state=\"stapled\"} "), 28);
}

static void one_more_try_then_it_is_told(void **state)
{
    struct scene *s = *state;
    s->status = 404;
    see_certificate(s, "shop/a", &s->leaf);
    see_switch(s, true);
    commit(s);
    usec_t begin = loop_now(s->loop);
    for (int i = 0; i < STEPS_MAX && s->told_n == 0; i++) {
        step(s);
    }
    assert_true(loop_now(s->loop) - begin >= OCSP_RETRY_MIN);
    assert_int_equal(s->asked_n, 2);
    assert_int_equal(metric(s, "result=\"failed\"} "), 2);
    assert_non_null(strstr(s->told, "StapleUnavailable"));
    assert_non_null(strstr(s->told, "clients get none"));
    assert_null(staple(s, "shop/a"));
}

static void a_response_ends(void **state)
{
    struct scene *s = *state;
    s->now = (int64_t)time(NULL);
    answer_set(s, &s->leaf, V_OCSP_CERTSTATUS_GOOD, 3);
    stapled(s);
    s->status = 0;
    step_until_due(s);
    assert_null(staple(s, "shop/a"));
    assert_true((int64_t)time(NULL) >= s->now + 3);
    assert_int_equal(metric(s, "state=\"stapled\"} "), 0);
}

static void whom_nobody_can_ask(void **state)
{
    struct scene *s = *state;
    struct pki silent = pki_make(&(struct pki_options){.name = "a.test"}, &s->authority);
    struct pki secure =
        pki_make(&(struct pki_options){.name = "a.test", .access = "OCSP;URI:https://a.example/"},
                 &s->authority);
    see_certificate(s, "shop/silent", &silent);
    see_certificate(s, "shop/secure", &secure);
    see_switch(s, true);
    commit(s);
    for (int i = 0; i < 20; i++) {
        step(s);
    }
    assert_int_equal(s->told_n, 1);
    assert_non_null(strstr(s->told, "cannot be asked: it is not reached by a plain http URL"));
    assert_int_equal(metric(s, "state=\"followed\"} "), 0);
    pki_free(&silent);
    pki_free(&secure);
}

/* ---- what was saved ---- */

static void staple_save(struct scene *s, const char *key, struct str response, int64_t until)
{
    struct buf b;
    buf_init(&b, 1 << 20);
    snap_shard_begin(&b, SNAP_STAPLE, sizeof(struct snap_staple), str_from_cstr(key));
    struct snap_str at = snap_add_str(&b, response);
    snap_at(&b, 0, struct snap_staple)->response = at;
    snap_at(&b, 0, struct snap_staple)->until = until;
    assert_int_equal(snap_shard_end(&b), E_OK);
    assert_int_equal(publish_add(s->publish, snap_at(&b, 0, const struct snap_shard)), E_OK);
    buf_fini(&b);
}

static void commit_whole(struct scene *s)
{
    bool is_new;
    assert_int_equal(ocsp_settle(s->ocsp), E_OK);
    assert_int_equal(publish_commit(s->publish, true, &is_new), E_OK);
}

static void saved_responses_go_on(void **state)
{
    struct scene *s = *state;
    staple_save(s, "shop/a", s->answer, s->now + 3600);
    staple_save(s, "shop/other", s->answer, s->now + 3600); /* not its own */
    staple_save(s, "shop/gone", s->answer, s->now + 3600);
    commit(s);
    see_certificate(s, "shop/a", &s->leaf);
    see_certificate(s, "shop/other", &s->other);
    see_switch(s, true);
    s->status = 0;
    commit_whole(s);
    assert_non_null(staple(s, "shop/a"));
    assert_null(staple(s, "shop/other"));
    assert_null(staple(s, "shop/gone"));
    for (int i = 0; i < 100; i++) {
        step(s);
    }
    assert_int_equal(s->asked_n, 1); /* about the other one */
}

static void saved_responses_go_when_it_is_off(void **state)
{
    struct scene *s = *state;
    staple_save(s, "shop/a", s->answer, s->now + 3600);
    commit(s);
    see_certificate(s, "shop/a", &s->leaf);
    see_switch(s, false);
    commit_whole(s);
    assert_null(staple(s, "shop/a"));
}

static void certificates_have_a_limit(void **state)
{
    struct scene *s = *state;
    char key[64];
    for (int i = 0; i <= OCSP_CERTIFICATES_MAX; i++) {
        (void)snprintf(key, sizeof(key), "shop/a%d", i);
        staple_save(s, key, s->answer, s->now + 3600);
    }
    commit(s);
    for (int i = 0; i <= OCSP_CERTIFICATES_MAX; i++) {
        (void)snprintf(key, sizeof(key), "shop/a%d", i);
        see_certificate(s, key, &s->leaf);
    }
    see_switch(s, true);
    commit_whole(s);
    assert_int_equal(metric(s, "state=\"followed\"} "), OCSP_CERTIFICATES_MAX);
    assert_int_equal(metric(s, "state=\"stapled\"} "), OCSP_CERTIFICATES_MAX);
    for (int i = 0; i < 20; i++) {
        step(s);
    }
    assert_int_equal(s->asked_n, 0);
    assert_int_equal(s->told_n, 1);
    assert_non_null(strstr(s->told, "LimitReached"));
}

static void out_of_memory(void **state)
{
    struct scene *s = *state;
    enum err e = E_NOMEM;
    ocsp_free(s->ocsp);
    s->ocsp = NULL;
    for (size_t n = 1; e != E_OK; n++) {
        assert_true(n < 100);
        mem_fail_from(n);
        e = ocsp_open(s);
        mem_fail_from(0);
        assert_true(e == E_OK || e == E_NOMEM);
    }
    see_certificate(s, "shop/a", &s->leaf);
    see_switch(s, true);
    e = E_NOMEM;
    for (size_t n = 1; e != E_OK; n++) {
        assert_true(n < 10000);
        mem_fail_from(n);
        e = ocsp_settle(s->ocsp);
        mem_fail_from(0);
        assert_true(e == E_OK || e == E_NOMEM);
    }
    commit(s);
    step_until_due(s);
    assert_non_null(staple(s, "shop/a"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_scene, close_scene)
    const struct CMUnitTest tests[] = {
        TEST(a_response_is_published),
        TEST(nobody_is_asked_while_it_is_off),
        TEST(a_revoked_one_is_told),
        TEST(a_change_of_the_certificate_takes_it_away),
        TEST(a_change_while_it_is_asked),
        TEST(it_goes_with_the_certificate),
        TEST(what_is_not_committed_is_not_asked_about),
        TEST(questions_at_a_time),
        TEST(one_more_try_then_it_is_told),
        TEST(a_response_ends),
        TEST(whom_nobody_can_ask),
        TEST(saved_responses_go_on),
        TEST(saved_responses_go_when_it_is_off),
        TEST(certificates_have_a_limit),
        TEST(out_of_memory),
    };
    if (tls_library_start() != E_OK) {
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
