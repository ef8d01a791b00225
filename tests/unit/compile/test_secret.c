/* Certificates of Secrets over time: what takes the place of a good one and what does not, what
 * time does to them, and that a private key is there exactly as long as a certificate has it. What
 * else Secrets are for is in test_secret_roles.c. */
#include "secret_world.h"

/* ---- certificates ---- */

static void a_good_one_stays_while_its_successor_is_broken(void **state)
{
    struct bench *b = *state;
    put_ingress(b, "");
    put_good(b);
    assert_true(at(b, 0) > 0);
    assert_int_equal(in_service(b), 'g');
    assert_int_equal(diag_n(b), 0);
    for (enum broken i = CUT; i < BROKEN_N; i++) {
        put_broken(b, i);
        assert_int_equal(run(b), 0); /* the workers notice nothing */
        assert_int_equal(in_service(b), 'g');
        assert_int_equal(told_n(b, DIAG_InvalidCertificate, NULL), 2); /* Secret and Ingress */
        assert_int_equal(told_n(b, DIAG_InvalidCertificate, "stays in service"), 1);
        assert_int_equal(diag_n(b), 2);
    }
    put_other(b);
    assert_true(run(b) > 0);
    assert_int_equal(in_service(b), 'o');
    assert_int_equal(diag_n(b), 0);
}

static void a_broken_one_alone_is_not_served(void **state)
{
    struct bench *b = *state;
    put_ingress(b, "");
    for (enum broken i = CUT; i < BROKEN_N; i++) {
        put_broken(b, i);
        (void)at(b, 0);
        assert_int_equal(in_service(b), '-');
        assert_int_equal(told_n(b, DIAG_InvalidCertificate, "get the default certificate"), 1);
        assert_int_equal(diag_n(b), 2);
    }
    put_good(b);
    (void)run(b);
    assert_int_equal(in_service(b), 'g');
}

/* That is no mistake of typing. */
static void a_deleted_one_goes(void **state)
{
    struct bench *b = *state;
    put_ingress(b, "");
    put_good(b);
    (void)at(b, 0);
    assert_true(store_del(b->store, OBJECT_SECRET, STR("default"), STR("s")));
    (void)run(b);
    assert_int_equal(in_service(b), '-');
    assert_int_equal(told_n(b, DIAG_SecretNotFound, NULL), 1);
    put_good(b);
    (void)run(b);
    assert_int_equal(in_service(b), 'g');
    assert_true(store_del(b->store, OBJECT_INGRESS, STR("default"), STR("web")));
    (void)run(b);
    assert_int_equal(kind_n(b, SNAP_CERTIFICATE) + kind_n(b, SNAP_KEY) + kind_n(b, SNAP_TLS_HOST),
                     0);
}

static bool is_pending(const void *arg, struct str namespace_name, struct str name)
{
    (void)namespace_name, (void)name;
    return *(const bool *)arg;
}

/* Nobody knows yet whether it is there: neither missed nor dropped. */
static void a_pending_one_is_waited_for(void **state)
{
    struct bench *b = *state;
    bool is_waiting = true;
    compile_on_pending(b->compile, is_pending, &is_waiting);
    put_ingress(b, "");
    (void)at(b, 0);
    assert_int_equal(diag_n(b), 0);
    is_waiting = false;
    compile_secret_missing(b->compile, STR("default"), STR("s"));
    (void)run(b);
    assert_int_equal(told_n(b, DIAG_SecretNotFound, NULL), 1);
    put_good(b);
    (void)run(b);
    assert_int_equal(in_service(b), 'g');
    is_waiting = true;
    assert_true(store_del(b->store, OBJECT_SECRET, STR("default"), STR("s")));
    (void)run(b);
    assert_int_equal(in_service(b), 'g'); /* the watch is being begun anew */
}

/* ---- time ---- */

static void time_passes(void **state)
{
    static const struct {
        int day;
        const char *text; /* told; NULL: nothing */
        size_t n;
    } days[] = {
        {0,  NULL,          0},
        {19, NULL,          0},
        {21, "ends on",     1}, /* ten days before */
        {29, "ends on",     1},
        {31, "has expired", 2},
        {40, "has expired", 2},
        {5,  NULL,          0}, /* the clock was wrong */
    };
    struct bench *b = *state;
    put_ingress(b, "");
    put_good(b);
    (void)at(b, 0);
    for (size_t i = 0; i < sizeof(days) / sizeof(days[0]); i++) {
        assert_int_equal(at(b, days[i].day), 0);
        assert_int_equal(diag_n(b), days[i].n);
        assert_int_equal(told_n(b, DIAG_CertificateExpired, days[i].text), days[i].n);
        assert_int_equal(in_service(b), 'g'); /* an old one says more than a foreign one */
    }
}

/* While the one before is valid, one that is not does not take its place; then it does. */
static void expired_ones_wait(void **state)
{
    struct bench *b = *state;
    struct buf pem, key;
    buf_init(&pem, 1 << 16);
    buf_init(&key, 1 << 16);
    struct pki old = site_make(b, -2L * DAY_S, -DAY_S), early = site_make(b, DAY_S, 90L * DAY_S);
    const struct pki *both[] = {&old, &early};
    put_ingress(b, "");
    for (int i = 0; i < 2; i++) {
        buf_reset(&pem);
        buf_reset(&key);
        pki_pem(both[i], &pem);
        pki_pem_key(both[i], &key);
        put_good(b);
        (void)at(b, 0);
        put_pair(b, "s", buf_str(&pem), buf_str(&key));
        assert_int_equal(at(b, 0), 0);
        assert_int_equal(in_service(b), 'g');
        assert_int_equal(told_n(b, DIAG_CertificateExpired, "stays in service"), 1);
        assert_true(at(b, i == 0 ? 31 : 2) > 0); /* the good one has ended; the other has begun */
        assert_int_equal(in_service(b), '?');
        assert_int_equal(diag_n(b) > 0, i == 0);
    }
    pki_free(&old);
    pki_free(&early);
    buf_fini(&pem);
    buf_fini(&key);
}

static void an_expired_one_alone_is_served(void **state)
{
    struct bench *b = *state;
    put_ingress(b, "");
    put_good(b);
    (void)at(b, 45);
    assert_int_equal(in_service(b), 'g');
    assert_int_equal(told_n(b, DIAG_CertificateExpired, "clients refuse it"), 1);
    put_broken(b, SWAPPED);
    (void)run(b);
    assert_int_equal(in_service(b), '-'); /* nothing is lost with it */
    put_other(b);
    (void)run(b);
    assert_int_equal(in_service(b), 'o');
    assert_int_equal(diag_n(b), 0);
}

/* ---- keys ---- */

static void put_users(struct bench *b)
{
    buf_reset(&b->text);
    buf_addf(&b->text,
             "apiVersion: networking.k8s.io/v1\nkind: Ingress\n"
             "metadata: {name: two, namespace: default}\n"
             "spec:\n  ingressClassName: lintel\n  tls: [{secretName: s}, {secretName: t}]\n"
             "  rules: [{host: a.test}]\n");
    put_text(b);
}

static void certificates_share_a_key(void **state)
{
    struct bench *b = *state;
    put_users(b);
    put_good(b);
    put_pair(b, "t", buf_str(&b->good_pem), buf_str(&b->good_key));
    (void)at(b, 0);
    assert_int_equal(kind_n(b, SNAP_CERTIFICATE), 2);
    assert_int_equal(kind_n(b, SNAP_KEY), 1);
    put_other(b); /* in s */
    (void)run(b);
    assert_int_equal(kind_n(b, SNAP_KEY), 2);
    put_pair(b, "t", buf_str(&b->other_pem), buf_str(&b->other_key));
    (void)run(b);
    assert_int_equal(kind_n(b, SNAP_KEY), 1);
    assert_true(store_del(b->store, OBJECT_SECRET, STR("default"), STR("s")));
    (void)run(b);
    assert_int_equal(kind_n(b, SNAP_KEY), 1);
    assert_true(store_del(b->store, OBJECT_SECRET, STR("default"), STR("t")));
    (void)run(b);
    assert_int_equal(kind_n(b, SNAP_KEY), 0);
}

/* Renewed with the same key: it does not travel again. */
static void a_renewal_may_keep_its_key(void **state)
{
    struct bench *b = *state;
    put_ingress(b, "");
    put_good(b);
    (void)at(b, 0);
    struct buf pem;
    buf_init(&pem, 1 << 16);
    assert_int_equal(ASN1_INTEGER_set(X509_get_serialNumber(b->good.x), 4711), 1);
    assert_true(X509_sign(b->good.x, b->root.key, EVP_sha256()) > 0);
    pki_pem(&b->good, &pem);
    put_pair(b, "s", buf_str(&pem), buf_str(&b->good_key));
    assert_int_equal(run(b), 1);
    assert_int_equal(in_service(b), 'g');
    buf_fini(&pem);
}

struct order {
    struct bench *b;
    bool has_key, is_wrong;
};

/* A worker has to have the key first: nothing but the key of what is to come precedes it. */
static enum err take_in_order(void *arg, const struct snap_shard *shard)
{
    struct order *o = arg;
    o->has_key = o->has_key || (shard->kind == SNAP_KEY && !shard->is_deleted);
    o->is_wrong = o->is_wrong || (shard->kind == SNAP_CERTIFICATE && !o->has_key) ||
                  (shard->kind == SNAP_KEY && shard->is_deleted && o->has_key &&
                   find(o->b, SNAP_CERTIFICATE, "default/s") == NULL);
    return compiled_take(&o->b->state, shard);
}

static void a_key_comes_before_its_certificate(void **state)
{
    struct bench *b = *state;
    for (int i = 0; i < 2; i++) {
        struct order o = {b, false, false};
        if (i == 0) {
            put_ingress(b, "");
            put_good(b);
        } else {
            put_other(b);
        }
        compile_set_time(b->compile, b->now_s);
        assert_int_equal(compile_run(b->compile, take_in_order, &o), E_OK);
        assert_true(o.has_key && !o.is_wrong);
    }
    assert_int_equal(in_service(b), 'o');
}

/* ---- failures ---- */

/* The state after a failed run and a good one is that of a good one. */
static void the_receiver_may_fail(void **state)
{
    struct bench *b = *state;
    put_ingress(b, "");
    compile_set_time(b->compile, b->now_s);
    for (size_t at_n = 1; at_n < 8; at_n++) {
        if (at_n % 2 == 1) {
            put_good(b);
        } else {
            put_other(b);
        }
        b->state.fail_at = 1 + at_n / 2;
        enum err e = compile_run(b->compile, compiled_take, &b->state);
        assert_true(e == E_SYS || e == E_OK);
        b->state.fail_at = 0;
        (void)run(b);
        assert_int_equal(in_service(b), at_n % 2 == 1 ? 'g' : 'o');
    }
}

static void when_memory_is_out(void **state)
{
    enum { NTH_MAX = 20 * 1000, CLOSE = 25 };
    struct bench *b = *state;
    enum err e = E_NOMEM;
    size_t nth = 1;
    put_ingress(b, AUTH("default/ca"));
    put_authority(b, buf_str(&b->root_pem), STR_EMPTY);
    put_good(b);
    compile_set_time(b->compile, b->now_s);
    for (; nth < NTH_MAX && e != E_OK; nth += 1 + nth / CLOSE) {
        mem_fail_from(nth);
        e = compile_run(b->compile, compiled_take, &b->state);
        mem_fail_from(0);
        assert_true(e == E_OK || e == E_NOMEM);
    }
    assert_int_equal(e, E_OK);
    assert_true(nth > 10);
    assert_int_equal(in_service(b), 'g');
    assert_int_equal(guard(b), '1');
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(a_good_one_stays_while_its_successor_is_broken),
        TEST(a_broken_one_alone_is_not_served),
        TEST(a_deleted_one_goes),
        TEST(a_pending_one_is_waited_for),
        TEST(time_passes),
        TEST(expired_ones_wait),
        TEST(an_expired_one_alone_is_served),
        TEST(certificates_share_a_key),
        TEST(a_renewal_may_keep_its_key),
        TEST(a_key_comes_before_its_certificate),
        TEST(the_receiver_may_fail),
        TEST(when_memory_is_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
