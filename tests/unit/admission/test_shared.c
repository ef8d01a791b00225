/* The certificate that replicas share, against an API that the test plays: the two reflectors and
 * the calls of kube/ are the test's own. */
#include "admission/shared.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"
#include "base/mem.h"
#include "document/json.h"
#include "kube/reflector.h"
#include "tls/certificate.h"
#include "wire/base64.h"

enum { SECRET, CONFIGURATION, REFLECTORS_N, TEXT_MAX = 1 << 16 };

struct kube_reflector {
    struct kube_reflector_options options;
};

struct kube_call {
    const struct kube_call_events *events;
    void *arg;
    enum kube_method method;
    char path[512], type[128], body[TEXT_MAX];
};

/* One world for each test; the fakes of kube/ find it here. */
static struct world {
    struct loop *loop;
    struct shared *shared;
    struct kube_reflector reflectors[REFLECTORS_N];
    int reflector_n;
    struct kube_call call;
    bool has_call;
    int version;
    char served[TEXT_MAX]; /* the chain */
    int served_n;
    usec_t ahead; /* how far the test's clocks are */
} world;

/* ---- clocks ---- */

usec_t clock_monotonic(void)
{
    return 1000 * USEC_PER_SEC + world.ahead;
}

usec_t clock_wall(void)
{
    return (usec_t)1800000000 * USEC_PER_SEC + world.ahead;
}

usec_t clock_cpu(void)
{
    return 0;
}

/* ---- kube/ ---- */

enum err kube_reflector_open(const struct kube_reflector_options *options,
                             struct kube_reflector **ret)
{
    struct kube_reflector *r = &world.reflectors[world.reflector_n++];
    r->options = *options;
    *ret = r;
    return E_OK;
}

void kube_reflector_close(struct kube_reflector *r)
{
    (void)r;
}

bool kube_result_is_ok(const struct kube_result *r)
{
    return r->error == E_OK && r->status >= 200 && r->status <= 299;
}

enum err kube_call_start(struct kube_client *c, const struct kube_request *request,
                         const struct kube_call_events *events, void *arg, struct kube_call **ret)
{
    (void)c;
    assert_false(world.has_call); /* one at a time */
    world.has_call = true;
    world.call.events = events;
    world.call.arg = arg;
    world.call.method = request->method;
    assert_true(str_to_cstr(request->path, world.call.path, sizeof(world.call.path)));
    assert_true(str_to_cstr(str_from_cstr(request->content_type), world.call.type,
                            sizeof(world.call.type)));
    assert_true(str_to_cstr(request->body, world.call.body, sizeof(world.call.body)));
    *ret = &world.call;
    return E_OK;
}

void kube_call_cancel(struct kube_call *call)
{
    world.has_call = world.has_call && call == NULL;
}

/* ---- the API that the test plays ---- */

static void steps(void)
{
    for (int i = 0; i < 5; i++) {
        assert_int_equal(loop_step(world.loop, 0), E_OK);
    }
}

static enum err give(void *arg, const struct tree_node *root)
{
    const struct kube_reflector *r = arg;
    r->options.events->on_object(r->options.arg, root);
    return E_OK;
}

static void on_diag(void *arg, const struct diag *d)
{
    (void)arg;
    fail_msg("%.*s", STR_ARG(d->what));
}

static void tell(int which, const char *json)
{
    struct tree_sink sink = {&world.reflectors[which], give, on_diag};
    assert_int_equal(json_parse(str_from_cstr(json), &sink), E_OK);
    steps();
}

static void tell_listed(int which)
{
    const struct kube_reflector_options *o = &world.reflectors[which].options;
    o->events->on_list(o->arg);
    o->events->on_listed(o->arg);
    steps();
}

/* The value of the first "name":"..." in text. */
static void value_of(const char *text, const char *name, char *out)
{
    char key[64];
    (void)snprintf(key, sizeof(key), "\"%s\":\"", name);
    const char *at = strstr(text, key);
    assert_non_null(at);
    at += strlen(key);
    const char *end = strchr(at, '"');
    memcpy(out, at, (size_t)(end - at));
    out[end - at] = '\0';
}

/* What our last write made of the Secret, as the API would tell it. */
static void secret_json(char *out, size_t cap)
{
    static char ca[TEXT_MAX], chain[TEXT_MAX], key[TEXT_MAX];
    value_of(world.call.body, "ca.crt", ca);
    value_of(world.call.body, "tls.crt", chain);
    value_of(world.call.body, "tls.key", key);
    (void)snprintf(
        out, cap,
        "{\"metadata\":{\"name\":\"pair\",\"resourceVersion\":\"%d\"},\"data\":{\"ca.crt\":"
        "\"%s\",\"tls.crt\":\"%s\",\"tls.key\":\"%s\"}}",
        ++world.version, ca, chain, key);
}

static void configuration_json(char *out, size_t cap, const char *bundle)
{
    (void)snprintf(
        out, cap,
        "{\"metadata\":{\"name\":\"hooks\"},\"webhooks\":[{\"name\":\"v.lintel.dev\","
        "\"clientConfig\":{\"caBundle\":\"%s\",\"service\":{\"namespace\":\"edge\",\"name\":"
        "\"lintel-webhook\"}}},{\"name\":\"w.lintel.dev\",\"clientConfig\":{\"caBundle\":"
        "\"%s\",\"url\":\"https://10.1.2.3:8443/x\"}}]}",
        bundle, bundle);
}

static void tell_configuration(const char *bundle)
{
    static char json[4 * TEXT_MAX];
    configuration_json(json, sizeof(json), bundle);
    tell(CONFIGURATION, json);
}

static void answer(uint32_t status)
{
    const struct kube_result result = {
        .error = E_OK, .status = status, .reason = STR_EMPTY, .message = STR("as told")};
    assert_true(world.has_call);
    world.has_call = false;
    world.call.events->on_done(world.call.arg, &result);
    steps();
}

/* The write succeeds and comes back; the Secret's text is kept for later. */
static char told_secret[4 * TEXT_MAX];

static void secret_written(void)
{
    secret_json(told_secret, sizeof(told_secret));
    answer(200);
    tell(SECRET, told_secret);
}

static void trust_written(void)
{
    static char bundle[TEXT_MAX];
    assert_int_equal(world.call.method, KUBE_PATCH);
    assert_string_equal(world.call.type, "application/strategic-merge-patch+json");
    assert_string_equal(
        world.call.path,
        "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/hooks");
    value_of(world.call.body, "caBundle", bundle);
    answer(200);
    tell_configuration(bundle);
}

static void advance(usec_t by)
{
    world.ahead += by;
    steps();
}

static void on_certificate(void *arg, struct str chain, struct str key)
{
    struct tls_certificate *c;
    enum tls_fault fault;
    (void)arg;
    assert_int_equal(tls_certificate_parse(chain, key, &fault, &c), E_OK);
    assert_true(tls_certificate_covers(c, STR("lintel-webhook.edge.svc")));
    assert_true(tls_certificate_covers(c, STR("10.1.2.3")));
    tls_certificate_free(c);
    assert_true(str_to_cstr(chain, world.served, sizeof(world.served)));
    world.served_n++;
}

static int setup(void **state)
{
    (void)state;
    world = (struct world){0};
    assert_int_equal(loop_new(&world.loop), E_OK);
    const struct shared_options o = {.configuration = STR("hooks"),
                                     .secret_namespace = STR("edge"),
                                     .secret = STR("pair"),
                                     .on_certificate = on_certificate};
    assert_int_equal(shared_open(world.loop, &o, &world.shared), E_OK);
    assert_int_equal(world.reflector_n, REFLECTORS_N);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    shared_close(world.shared);
    loop_free(world.loop);
    return 0;
}

/* ---- tests ---- */

/* Nothing is there: made, created, trusted, served. */
static void from_nothing(void **state)
{
    (void)state;
    tell_listed(SECRET);
    assert_false(world.has_call); /* the names are not known yet */
    tell_configuration("");
    assert_true(world.has_call);
    assert_int_equal(world.call.method, KUBE_POST);
    assert_string_equal(world.call.path, "/api/v1/namespaces/edge/secrets");
    assert_non_null(strstr(world.call.body, "\"type\":\"kubernetes.io/tls\""));
    assert_int_equal(world.served_n, 0);
    secret_written();
    assert_int_equal(world.served_n, 1);
    trust_written();
    assert_false(world.has_call);
    assert_int_equal(world.served_n, 1);
}

/* Another replica was faster: its pair is taken, ours is forgotten. */
static void another_was_faster(void **state)
{
    (void)state;
    static char ours[4 * TEXT_MAX];
    tell_listed(SECRET);
    tell_configuration("");
    secret_json(ours, sizeof(ours)); /* stands for the other's */
    answer(409);
    assert_false(world.has_call); /* first see what is there */
    tell(SECRET, ours);
    assert_int_equal(world.served_n, 1);
    trust_written();
    assert_false(world.has_call);
}

/* The pair that is there is used as it is. */
static void a_second_replica(void **state)
{
    from_nothing(state);
    static char bundle[TEXT_MAX], secret[4 * TEXT_MAX];
    value_of(world.call.body, "caBundle", bundle);
    memcpy(secret, told_secret, sizeof(secret));
    (void)teardown(state);
    (void)setup(state);
    tell(SECRET, secret);
    tell_configuration(bundle);
    assert_false(world.has_call);
    assert_int_equal(world.served_n, 1);
}

/* Two authorities in the caBundle that our last write sends. */
static void assert_two_authorities(void)
{
    static char bundle[TEXT_MAX], pem[TEXT_MAX];
    size_t n;
    value_of(world.call.body, "caBundle", bundle);
    assert_int_equal(base64_decode(str_from_cstr(bundle), pem, &n), E_OK);
    pem[n] = '\0';
    const char *first = strstr(pem, "BEGIN CERTIFICATE");
    assert_non_null(first);
    assert_non_null(strstr(first + 1, "BEGIN CERTIFICATE"));
}

/* Renewed at 2/3; the authorities before stay trusted; the new one is served only after a while. */
static void renewal(void **state)
{
    from_nothing(state);
    static char before[TEXT_MAX];
    memcpy(before, world.served, sizeof(before));
    advance((usec_t)ADMISSION_LIFE_S / 3 * 2 * USEC_PER_SEC - 2 * 3600 * USEC_PER_SEC);
    assert_false(world.has_call);
    for (int i = 0; i < 10 && !world.has_call; i++) {
        advance(3600 * USEC_PER_SEC);
    }
    assert_true(world.has_call);
    assert_int_equal(world.call.method, KUBE_PATCH);
    assert_string_equal(world.call.type, "application/merge-patch+json");
    assert_string_equal(world.call.path, "/api/v1/namespaces/edge/secrets/pair");
    assert_non_null(strstr(world.call.body, "\"resourceVersion\":\"1\""));
    secret_written();
    assert_int_equal(world.served_n, 1); /* not yet: nobody trusts it */
    assert_two_authorities();
    trust_written();
    assert_int_equal(world.served_n, 1);
    advance(ADMISSION_SWITCH - USEC_PER_SEC);
    assert_int_equal(world.served_n, 1);
    advance(2 * USEC_PER_SEC);
    assert_int_equal(world.served_n, 2);
    assert_string_not_equal(before, world.served);
    assert_false(world.has_call);
}

/* What is served until the new one may be stays trusted. */
static void the_secret_is_deleted(void **state)
{
    from_nothing(state);
    const struct kube_reflector_options *o = &world.reflectors[SECRET].options;
    o->events->on_gone(o->arg, NULL);
    steps();
    assert_int_equal(world.call.method, KUBE_POST);
    secret_written();
    assert_two_authorities();
    trust_written();
    assert_int_equal(world.served_n, 1);
    advance(ADMISSION_SWITCH + USEC_PER_SEC);
    assert_int_equal(world.served_n, 2);
    assert_false(world.has_call);
}

/* The same when it is broken before our eyes, its authority with it. */
static void a_broken_secret_is_mended(void **state)
{
    from_nothing(state);
    tell(SECRET, "{\"metadata\":{\"resourceVersion\":\"7\"}}");
    assert_int_equal(world.call.method, KUBE_PATCH);
    secret_written();
    assert_two_authorities();
}

/* The watch is faster than the answer to our write. */
static void told_before_the_answer(void **state)
{
    (void)state;
    tell_listed(SECRET);
    tell_configuration("");
    secret_json(told_secret, sizeof(told_secret));
    tell(SECRET, told_secret);
    assert_int_equal(world.call.method, KUBE_POST);
    answer(201);
    assert_int_equal(world.served_n, 1);
    trust_written();
    assert_false(world.has_call);
}

/* Somebody installs the configuration anew: trusted again at once. */
static void the_configuration_is_replaced(void **state)
{
    from_nothing(state);
    tell_configuration("");
    assert_true(world.has_call);
    trust_written();
    assert_false(world.has_call);
    assert_int_equal(world.served_n, 1);
}

static void the_secret_is_broken(void **state)
{
    (void)state;
    static const char *const secrets[] = {
        "{\"metadata\":{\"resourceVersion\":\"7\"}}",
        "{\"metadata\":{\"resourceVersion\":\"7\"},\"data\":{\"ca.crt\":\"!\",\"tls.crt\":\"YQ==\","
        "\"tls.key\":\"YQ==\"}}",
        "{\"metadata\":{\"resourceVersion\":\"7\"},\"data\":[]}",
    };
    for (size_t i = 0; i < sizeof(secrets) / sizeof(secrets[0]); i++) {
        tell(SECRET, secrets[i]);
        tell_configuration("");
        assert_true(world.has_call);
        assert_non_null(strstr(world.call.body, "\"resourceVersion\":\"7\""));
        secret_written();
        assert_int_equal(world.served_n, 1);
        trust_written();
        (void)teardown(state);
        (void)setup(state);
    }
}

/* It is called by another name now. */
static void another_name(void **state)
{
    from_nothing(state);
    tell(CONFIGURATION,
         "{\"webhooks\":[{\"name\":\"v\",\"clientConfig\":{\"caBundle\":\"\",\"service\":{"
         "\"namespace\":\"other\",\"name\":\"x\"}}}]}");
    assert_true(world.has_call);
    assert_string_equal(world.call.type, "application/merge-patch+json");
}

/* A write that fails is tried again, later each time; what is served stays. */
static void writes_that_fail(void **state)
{
    (void)state;
    usec_t wait = ADMISSION_RETRY_MIN;
    tell_listed(SECRET);
    tell_configuration("");
    for (int i = 0; i < 8; i++) {
        answer(i % 2 == 0 ? 500 : 403);
        assert_false(world.has_call);
        advance(wait / 2);
        assert_false(world.has_call);
        advance(wait / 2 + USEC_PER_SEC);
        assert_true(world.has_call);
        wait = 2 * wait < ADMISSION_RETRY_MAX ? 2 * wait : ADMISSION_RETRY_MAX;
    }
    secret_written();
    assert_int_equal(world.served_n, 1);
    answer(403); /* may not patch the configuration */
    assert_int_equal(world.served_n, 1);
    assert_false(world.has_call);
    advance(2 * ADMISSION_RETRY_MAX);
    trust_written();
}

static void no_configuration(void **state)
{
    (void)state;
    tell_listed(SECRET);
    tell_listed(CONFIGURATION);
    assert_false(world.has_call);
    tell(CONFIGURATION, "{\"webhooks\":[]}");
    assert_false(world.has_call);
    tell_configuration("");
    assert_true(world.has_call);
}

static void when_memory_is_out(void **state)
{
    (void)state;
    const struct shared_options o = {
        .configuration = STR("c"), .secret_namespace = STR("s"), .secret = STR("n")};
    enum err e = E_NOMEM;
    for (size_t nth = 1; e != E_OK && nth < 50; nth++) {
        struct shared *s = NULL;
        world.reflector_n = 0;
        mem_fail_from(nth);
        e = shared_open(world.loop, &o, &s);
        mem_fail_from(0);
        assert_true(e == E_OK || e == E_NOMEM);
        shared_close(s);
    }
    assert_int_equal(e, E_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(from_nothing),           TEST(another_was_faster),
        TEST(a_second_replica),       TEST(renewal),
        TEST(the_secret_is_broken),   TEST(the_configuration_is_replaced),
        TEST(another_name),           TEST(writes_that_fail),
        TEST(no_configuration),       TEST(when_memory_is_out),
        TEST(the_secret_is_deleted),  TEST(a_broken_secret_is_mended),
        TEST(told_before_the_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
