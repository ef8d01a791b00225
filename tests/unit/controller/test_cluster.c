/* controller/pipeline with an API server on its other end: what is published when, what of the
 * server is asked for, how the saved snapshot bridges its absence. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../lib/kube_fake.h"
#include "controller/pipeline.h"
#include "log/log.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { PATH_BYTES = 256, STEPS_MAX = 5000, BURST = 1000 };

#define CLASS                                                                                      \
    "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {name: lintel}\n"             \
    "spec: {controller: lintel.dev/ingress-controller}\n"
#define INGRESS(name, host)     INGRESS_AND(name, host, "")
#define INGRESS_TLS(name, host) INGRESS_AND(name, host, "  tls: [{secretName: cert}]\n")
#define INGRESS_AND(name, host, more)                                                              \
    "metadata: {namespace: default, name: \"" name "\"}\nspec:\n  ingressClassName: lintel\n" more \
    "  rules:\n  - host: " host "\n    http:\n      paths:\n"                                      \
    "      - {path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}\n"
#define SERVICE "metadata: {namespace: default, name: web}\nspec: {ports: [{port: 80}]}\n"
#define SLICE_OF(name, address)                                                                    \
    "metadata: {namespace: default, name: \"" name "\", labels: {kubernetes.io/service-name: "     \
    "web}}\naddressType: IPv4\nports: [{port: 80}]\nendpoints: [{addresses: [" address "]}]\n"

struct scene {
    char root[PATH_BYTES], snapshot_file[PATH_BYTES + 16];
    struct loop *loop;
    struct stats_area *stats;
    struct pipeline_options options;
    struct pipeline pipeline;
    bool is_made;
    size_t commits;
};

static void on_commit(void *arg, enum err e)
{
    struct scene *s = arg;
    s->commits++;
    assert_int_equal(e, E_OK);
}

static void make(struct scene *s)
{
    assert_int_equal(pipeline_init(&s->pipeline, s->loop, &s->options, on_commit, s), E_OK);
    s->is_made = true;
    pipeline_start(&s->pipeline);
}

static void unmake(struct scene *s)
{
    if (s->is_made) {
        pipeline_fini(&s->pipeline);
        s->is_made = false;
        assert_true(fake_is_empty());
    }
}

static int open_scene(void **state)
{
    struct scene *s = calloc(1, sizeof(*s));
    int fd;
    log_init("test", LOG_ERROR);
    (void)snprintf(s->root, sizeof(s->root), "/tmp/lintel-cluster-XXXXXX");
    assert_non_null(mkdtemp(s->root));
    (void)snprintf(s->snapshot_file, sizeof(s->snapshot_file), "%s/snapshot", s->root);
    assert_int_equal(loop_new(&s->loop), E_OK);
    assert_int_equal(stats_create(1, &s->stats, &fd), E_OK);
    close(fd);
    s->options = (struct pipeline_options){
        .kubeconfig = "kubeconfig",
        .snapshot_file = s->snapshot_file,
        .compile = {.controller = STR("lintel.dev/ingress-controller"),
                    .ingress_class = STR("lintel")},
        .control_fd = -1,
        .stats = s->stats
    };
    fake.config_error = E_OK;
    *state = s;
    return 0;
}

static int close_scene(void **state)
{
    struct scene *s = *state;
    unmake(s);
    loop_free(s->loop);
    stats_close(s->stats);
    (void)unlink(s->snapshot_file);
    (void)rmdir(s->root);
    free(s);
    return 0;
}

static void tick(struct scene *s)
{
    for (int i = 0; i < 3; i++) { /* what is put off may put off in its turn */
        assert_int_equal(loop_step(s->loop, 0), E_OK);
    }
}

static bool has_host(const struct scene *s, const char *host)
{
    char key[128];
    (void)snprintf(key, sizeof(key), "ingress/%s", host);
    struct str k = str_from_cstr(key);
    return snapshot_find(publish_state(s->pipeline.publish), SNAP_HOST, k, hash_str(k)) != NULL;
}

static uint64_t generation(const struct scene *s)
{
    return stats_get(&s->stats->generation);
}

static void step_until_generation(struct scene *s, uint64_t wanted)
{
    for (int i = 0; i < STEPS_MAX && generation(s) < wanted; i++) {
        assert_int_equal(loop_step(s->loop, 2 * USEC_PER_MS), E_OK);
    }
    assert_int_equal(generation(s), wanted);
}

static void list(const char *path_end, const char *yaml)
{
    assert_non_null(fake_reflector(path_end, ""));
    fake_list(fake_reflector(path_end, ""), yaml);
}

static void list_all(const char *ingress)
{
    list("/ingressclasses", CLASS);
    list("/ingresses", ingress);
    list("/services", SERVICE);
    list("/endpointslices", SLICE_OF("web-1", "10.0.0.1"));
}

static void the_first_generation_is_whole(void **state)
{
    struct scene *s = *state;
    make(s);
    list("/ingressclasses", CLASS);
    list("/ingresses", INGRESS("a", "a.test"));
    list("/services", SERVICE);
    tick(s);
    assert_int_equal(generation(s), 0);
    list("/endpointslices", SLICE_OF("web-1", "10.0.0.1"));
    tick(s);
    assert_int_equal(generation(s), 1);
    assert_true(has_host(s, "a.test"));
    assert_int_equal(s->pipeline.runs, 1);
}

static void a_configuration_is_waited_for(void **state)
{
    struct scene *s = *state;
    fake.config_error = E_PROTO;
    make(s);
    assert_null(s->pipeline.api);
    fake.config_error = E_OK;
    for (int i = 0; i < STEPS_MAX && s->pipeline.api == NULL; i++) {
        assert_int_equal(loop_step(s->loop, 2 * USEC_PER_MS), E_OK);
    }
    list_all(INGRESS("a", "a.test"));
    tick(s);
    assert_true(has_host(s, "a.test"));
}

/* What comes in one tick costs one generation, and nothing waits for more than the pause. */
static void a_burst_is_one_generation(void **state)
{
    struct scene *s = *state;
    char slice[512];
    make(s);
    list_all(INGRESS("a", "a.test"));
    tick(s);
    uint64_t before = generation(s), runs = s->pipeline.runs;
    for (int i = 0; i < BURST; i++) {
        (void)snprintf(slice, sizeof(slice), SLICE_OF("web-%d", "10.1.%d.%d"), i, i / 250,
                       1 + i % 250);
        fake_put(fake_reflector("/endpointslices", ""), slice);
    }
    step_until_generation(s, before + 1);
    assert_int_equal(s->pipeline.runs, runs + 1);
    tick(s);
    assert_int_equal(generation(s), before + 1);
    for (int i = 0; i < 50; i++) { /* one after the other, as fast as they are published */
        (void)snprintf(slice, sizeof(slice), SLICE_OF("web-x", "10.2.0.%d"), 1 + i);
        fake_put(fake_reflector("/endpointslices", ""), slice);
        step_until_generation(s, before + 2 + (uint64_t)i);
        assert_true(s->pipeline.lag_last <
                    20 * PIPELINE_PAUSE); /* a busy machine; mostly < 10 ms */
    }
}

static void secrets_in_use_are_followed(void **state)
{
    struct scene *s = *state;
    make(s);
    list_all(INGRESS_TLS("a", "a.test"));
    assert_null(fake_reflector("/secrets", "cert"));
    tick(s);
    assert_non_null(fake_reflector("/api/v1/namespaces/default/secrets", "cert"));
    assert_int_equal(generation(s), 0); /* without it, the wrong certificate would be served */
    fake_list(fake_reflector("/secrets", "cert"), "metadata: {namespace: default, name: cert}\n");
    tick(s);
    assert_int_equal(generation(s), 1);
    assert_int_equal(store_n(s->pipeline.store, OBJECT_SECRET), 1);
    fake_put(fake_reflector("/ingresses", ""), INGRESS_TLS("b", "b.test"));
    step_until_generation(s, 2); /* later ones wait for nothing */
    fake_gone(fake_reflector("/ingresses", ""), INGRESS_TLS("b", "b.test"));
    step_until_generation(s, 3);
    fake_gone(fake_reflector("/ingresses", ""), INGRESS_TLS("a", "a.test"));
    step_until_generation(s, 4);
    assert_null(fake_reflector("/secrets", "cert"));
    assert_int_equal(store_n(s->pipeline.store, OBJECT_SECRET), 0);
}

static size_t reason_n(struct scene *s, const char *reason)
{
    size_t n = 0;
    struct diag_list *list;
    assert_int_equal(diag_list_new(100, &list), E_OK);
    assert_int_equal(pipeline_each_diag(&s->pipeline, diag_list_add, list), E_OK);
    for (size_t i = 0; i < diag_list_n(list); i++) {
        n += strcmp(diag_reason_name(diag_list_get(list, i)->reason), reason) == 0;
    }
    diag_list_free(list);
    return n;
}

/* Whether it is not there, must not be read or is still on its way are three things. */
static void nothing_is_said_of_a_secret_before_it_is_known(void **state)
{
    struct scene *s = *state;
    make(s);
    list_all(INGRESS("a", "a.test"));
    tick(s);
    fake_put(fake_reflector("/ingresses", ""), INGRESS_TLS("b", "b.test"));
    step_until_generation(s, 2);
    assert_int_equal(reason_n(s, "SecretNotFound"), 0);
    fake_list(fake_reflector("/secrets", "cert"), NULL);
    for (int i = 0; i < STEPS_MAX && reason_n(s, "SecretNotFound") == 0; i++) {
        assert_int_equal(loop_step(s->loop, 2 * USEC_PER_MS), E_OK);
    }
    assert_int_equal(reason_n(s, "SecretNotFound"), 1);
    unmake(s);
    make(s);
    list_all(INGRESS_TLS("a", "a.test"));
    tick(s);
    fake_sick(fake_reflector("/secrets", "cert"), 403, "forbidden");
    tick(s);
    assert_true(has_host(s, "a.test"));
    assert_int_equal(reason_n(s, "SecretNotFound"), 1);
}

static void a_role_alone_is_enough(void **state)
{
    struct scene *s = *state;
    s->options.api.namespace_name = STR("default");
    make(s);
    list("/ingresses", INGRESS("a", "a.test"));
    list("/services", SERVICE);
    list("/endpointslices", SLICE_OF("web-1", "10.0.0.1"));
    fake_sick(fake_reflector("/ingressclasses", ""), 403, "forbidden");
    tick(s);
    assert_true(has_host(s, "a.test"));
}

static void set_age(struct scene *s, time_t age)
{
    const struct timespec times[] = {{.tv_sec = time(NULL) - age}, {.tv_sec = time(NULL) - age}};
    assert_int_equal(utimensat(AT_FDCWD, s->snapshot_file, times, 0), 0);
}

static time_t age(const struct scene *s)
{
    struct stat st;
    assert_int_equal(stat(s->snapshot_file, &st), 0);
    return time(NULL) - st.st_mtim.tv_sec;
}

static void the_saved_snapshot_bridges_the_absence(void **state)
{
    struct scene *s = *state;
    make(s);
    list_all(INGRESS("a", "a.test"));
    tick(s);
    assert_int_equal(saved_age(&s->pipeline.saved), 0);
    unmake(s);
    set_age(s, 3 * 86400);
    make(s);
    assert_true(has_host(s, "a.test"));
    assert_true(saved_age(&s->pipeline.saved) >= 3 * 86400 * USEC_PER_SEC - USEC_PER_SEC);
    fake_sick(fake_reflector("/ingresses", ""), 0, "connection refused");
    list("/ingressclasses", CLASS);
    tick(s);
    assert_true(has_host(s, "a.test"));
    unmake(s);
    assert_true(age(s) > 2 * 86400); /* nothing has confirmed it */
    make(s);
    list_all(INGRESS("b", "b.test"));
    tick(s);
    assert_true(has_host(s, "b.test"));
    assert_false(has_host(s, "a.test"));
    unmake(s);
    assert_true(age(s) < 100);
    set_age(s, 86400);
    make(s);
    list_all(INGRESS("b", "b.test"));
    tick(s);
    for (int i = 0; i < STEPS_MAX && list_is_linked(&s->pipeline.saved.save.link); i++) {
        assert_int_equal(loop_step(s->loop, 2 * USEC_PER_MS), E_OK);
    }
    set_age(s, 86400);
    unmake(s);
    assert_true(age(s) < 100); /* nothing was written, and it is true all the same */
}

static void memory_may_run_out_at_the_start(void **state)
{
    struct scene *s = *state;
    for (size_t n = 1; s->pipeline.api == NULL; n++) {
        assert_true(n < 1000);
        unmake(s);
        assert_int_equal(pipeline_init(&s->pipeline, s->loop, &s->options, on_commit, s), E_OK);
        s->is_made = true;
        mem_fail_from(n);
        pipeline_start(&s->pipeline);
        mem_fail_from(0);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_scene, close_scene)
    const struct CMUnitTest tests[] = {
        TEST(the_first_generation_is_whole),
        TEST(a_configuration_is_waited_for),
        TEST(a_burst_is_one_generation),
        TEST(secrets_in_use_are_followed),
        TEST(nothing_is_said_of_a_secret_before_it_is_known),
        TEST(a_role_alone_is_enough),
        TEST(the_saved_snapshot_bridges_the_absence),
        TEST(memory_may_run_out_at_the_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
