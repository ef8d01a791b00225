/* controller/pipeline: a directory on one end, generations on the other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "controller/pipeline.h"
#include "log/log.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_BYTES = 256, STEPS_MAX = 5000, BURST = 60 };

struct scene {
    char root[PATH_BYTES], directory[PATH_BYTES + 16], snapshot_file[PATH_BYTES + 16];
    struct loop *loop;
    struct stats_area *stats;
    struct pipeline_options options;
    struct pipeline pipeline;
    bool is_made;
    size_t commits;
    enum err last;
};

static void on_commit(void *arg, enum err e)
{
    struct scene *s = arg;
    s->commits++;
    s->last = e;
}

static void write_file(struct scene *s, const char *name, const char *text)
{
    char path[2 * PATH_BYTES], temporary[2 * PATH_BYTES];
    (void)snprintf(path, sizeof(path), "%s/%s", s->directory, name);
    (void)snprintf(temporary, sizeof(temporary), "%s/new", s->root);
    FILE *f = fopen(temporary, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(rename(temporary, path), 0);
}

static void write_ingress(struct scene *s, const char *name, const char *host)
{
    char text[1024], file[64];
    (void)snprintf(text, sizeof(text),
                   "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: %s}\n"
                   "spec:\n  ingressClassName: lintel\n  rules:\n  - host: %s\n    http:\n"
                   "      paths:\n      - {path: /, pathType: Prefix, backend: {service: "
                   "{name: web, port: {number: 80}}}}\n",
                   name, host);
    (void)snprintf(file, sizeof(file), "%s.yaml", name);
    write_file(s, file, text);
}

static void write_base(struct scene *s)
{
    write_file(s, "class.yaml",
               "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {name: lintel}\n"
               "spec: {controller: lintel.dev/ingress-controller}\n"
               "---\napiVersion: v1\nkind: Service\nmetadata: {name: web}\n"
               "spec: {ports: [{port: 80}]}\n"
               "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n"
               "metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}\n"
               "addressType: IPv4\nports: [{port: 80}]\n"
               "endpoints: [{addresses: [10.0.0.1]}]\n");
    write_ingress(s, "a", "a.test");
}

static void make(struct scene *s)
{
    assert_int_equal(pipeline_init(&s->pipeline, s->loop, &s->options, on_commit, s), E_OK);
    s->is_made = true;
}

static void unmake(struct scene *s)
{
    if (s->is_made) {
        pipeline_fini(&s->pipeline);
        s->is_made = false;
    }
}

static int open_scene(void **state)
{
    struct scene *s = calloc(1, sizeof(*s));
    int fd;
    log_init("test", LOG_ERROR);
    (void)snprintf(s->root, sizeof(s->root), "/tmp/lintel-pipeline-XXXXXX");
    assert_non_null(mkdtemp(s->root));
    (void)snprintf(s->directory, sizeof(s->directory), "%s/manifests", s->root);
    (void)snprintf(s->snapshot_file, sizeof(s->snapshot_file), "%s/snapshot", s->root);
    assert_int_equal(mkdir(s->directory, 0700), 0);
    assert_int_equal(loop_new(&s->loop), E_OK);
    assert_int_equal(stats_create(1, &s->stats, &fd), E_OK);
    close(fd);
    s->options = (struct pipeline_options){
        .manifests = s->directory,
        .compile = {.controller = STR("lintel.dev/ingress-controller"),
                    .ingress_class = STR("lintel")},
        .control_fd = -1,
        .stats = s->stats
    };
    *state = s;
    return 0;
}

static void empty_directory(const char *path)
{
    char file[2 * PATH_BYTES + 256];
    DIR *d = opendir(path);
    for (struct dirent *e = d == NULL ? NULL : readdir(d); e != NULL; e = readdir(d)) {
        (void)snprintf(file, sizeof(file), "%s/%s", path, e->d_name);
        (void)unlink(file);
    }
    if (d != NULL) {
        closedir(d);
    }
    (void)rmdir(path);
}

static int close_scene(void **state)
{
    struct scene *s = *state;
    unmake(s);
    loop_free(s->loop);
    stats_close(s->stats);
    empty_directory(s->directory);
    empty_directory(s->root);
    free(s);
    return 0;
}

static bool has_host(const struct scene *s, const char *host)
{
    char key[128];
    (void)snprintf(key, sizeof(key), "ingress/%s", host);
    struct str k = str_from_cstr(key);
    return snapshot_find(publish_state(s->pipeline.publish), SNAP_HOST, k, hash_str(k)) != NULL;
}

static void step_until_host(struct scene *s, const char *host, bool is_there)
{
    for (int i = 0; i < STEPS_MAX && has_host(s, host) != is_there; i++) {
        assert_int_equal(loop_step(s->loop, 2 * USEC_PER_MS), E_OK);
    }
    assert_int_equal(has_host(s, host), is_there);
}

static void changes_become_generations(void **state)
{
    struct scene *s = *state;
    write_base(s);
    make(s);
    pipeline_start(&s->pipeline);
    step_until_host(s, "a.test", true);
    assert_int_equal(stats_get(&s->stats->generation), 1);
    write_ingress(s, "b", "b.test");
    step_until_host(s, "b.test", true);
    assert_int_equal(stats_get(&s->stats->generation), 2);
    write_ingress(s, "b", "c.test");
    step_until_host(s, "c.test", true);
    assert_false(has_host(s, "b.test"));
    assert_int_equal(s->last, E_OK);
    assert_true(s->pipeline.lag_last < USEC_PER_SEC);
}

static void a_burst_costs_few_generations(void **state)
{
    struct scene *s = *state;
    char name[32], host[32];
    write_base(s);
    make(s);
    pipeline_start(&s->pipeline);
    step_until_host(s, "a.test", true);
    for (int i = 0; i < BURST; i++) {
        (void)snprintf(name, sizeof(name), "burst-%d", i);
        (void)snprintf(host, sizeof(host), "h%d.test", i);
        write_ingress(s, name, host);
    }
    step_until_host(s, host, true);
    assert_true(stats_get(&s->stats->generation) <= 1 + BURST / 4);
}

static void bad_files_stop_nothing(void **state)
{
    struct scene *s = *state;
    write_base(s);
    write_file(s, "bad.yaml", "kind: [\n");
    make(s);
    pipeline_start(&s->pipeline);
    step_until_host(s, "a.test", true);
    assert_true(s->pipeline.diagnostics.total >= 1);
    write_file(s, "bad2.json", "{");
    write_ingress(s, "b", "b.test");
    step_until_host(s, "b.test", true);
    assert_true(s->pipeline.diagnostics.total >= 2);
}

static void an_empty_directory_is_a_generation_too(void **state)
{
    struct scene *s = *state;
    make(s);
    pipeline_start(&s->pipeline);
    for (int i = 0; i < STEPS_MAX && s->commits == 0; i++) {
        assert_int_equal(loop_step(s->loop, 2 * USEC_PER_MS), E_OK);
    }
    assert_int_equal(s->commits, 1);
    assert_int_equal(stats_get(&s->stats->generation), 1);
}

static void a_directory_that_comes_later(void **state)
{
    struct scene *s = *state;
    assert_int_equal(rmdir(s->directory), 0);
    make(s);
    pipeline_start(&s->pipeline);
    assert_null(s->pipeline.directory);
    assert_int_equal(loop_step(s->loop, 0), E_OK);
    assert_int_equal(stats_get(&s->stats->generation), 0);
    assert_int_equal(mkdir(s->directory, 0700), 0);
    write_base(s);
    step_until_host(s, "a.test", true);
}

static void the_saved_snapshot_serves_until_objects_are_there(void **state)
{
    struct scene *s = *state;
    s->options.snapshot_file = s->snapshot_file;
    write_base(s);
    make(s);
    pipeline_start(&s->pipeline);
    step_until_host(s, "a.test", true);
    unmake(s); /* saves, though the delay is not over */
    assert_int_equal(access(s->snapshot_file, R_OK), 0);
    make(s);
    assert_true(has_host(s, "a.test")); /* nothing was read yet */
    write_ingress(s, "a", "other.test");
    pipeline_start(&s->pipeline);
    step_until_host(s, "other.test", true);
    assert_false(has_host(s, "a.test")); /* the whole state was replaced */
}

static void a_damaged_snapshot_file_is_no_obstacle(void **state)
{
    struct scene *s = *state;
    FILE *f = fopen(s->snapshot_file, "w");
    assert_non_null(f);
    assert_true(fputs("LINTELSN and then nonsense", f) >= 0);
    assert_int_equal(fclose(f), 0);
    s->options.snapshot_file = s->snapshot_file;
    write_base(s);
    make(s);
    pipeline_start(&s->pipeline);
    step_until_host(s, "a.test", true);
}

static void out_of_memory(void **state)
{
    struct scene *s = *state;
    enum err e = E_NOMEM;
    for (size_t n = 1; e != E_OK && n < 10000; n++) {
        mem_fail_from(n);
        e = pipeline_init(&s->pipeline, s->loop, &s->options, on_commit, s);
        mem_fail_from(0);
    }
    assert_int_equal(e, E_OK);
    s->is_made = true;
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_scene, close_scene)
    const struct CMUnitTest tests[] = {
        TEST(changes_become_generations),
        TEST(a_burst_costs_few_generations),
        TEST(bad_files_stop_nothing),
        TEST(an_empty_directory_is_a_generation_too),
        TEST(a_directory_that_comes_later),
        TEST(the_saved_snapshot_serves_until_objects_are_there),
        TEST(a_damaged_snapshot_file_is_no_obstacle),
        TEST(out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
