/* Every case in tests/golden: what the compiler makes of a directory of manifests stands in its
 * expected.txt. The result must not depend on the order in which the objects come, nor on what was
 * there before. LINTEL_GOLDEN_UPDATE=1 writes expected.txt anew; read the difference before you
 * believe it. Options are in options.txt, resolved names in resolutions.txt. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../lib/compiled.h"
#include "../../lib/manifest_objects.h"

enum { PERMUTATIONS = 16, HISTORIES = 8, CASES_MAX = 256, PATH_BYTES = 1024 };

struct golden {
    char dir[PATH_BYTES];
    struct compile_options options;
    char options_text[PATH_BYTES];
    struct str given; /* an option of the command line; empty: none */
    bool are_classes_hidden;
};

/* ---- files ---- */

/* NULL when there is no such file; ended by a NUL. */
static char *file_read(const char *dir, const char *name, size_t *ret_n)
{
    char path[2 * PATH_BYTES];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    FILE *f = fopen(path, "rb");
    if (f == NULL) {
        return NULL;
    }
    char *text = malloc(1 << 20);
    size_t n = fread(text, 1, (1 << 20) - 1, f);
    fclose(f);
    text[n] = '\0';
    if (ret_n != NULL) {
        *ret_n = n;
    }
    return text;
}

static int is_manifest(const struct dirent *d)
{
    return str_has_suffix(str_from_cstr(d->d_name), STR(".yaml"));
}

static int is_case(const struct dirent *d)
{
    return d->d_name[0] != '.' && d->d_type == DT_DIR;
}

static void resolutions_load(struct objects *objects, const char *dir)
{
    char *text = file_read(dir, "resolutions.txt", NULL);
    struct str rest = str_from_cstr(text), line, name, addresses;
    while (str_cut(rest, '\n', &line, &rest)) {
        (void)str_cut(line, ' ', &name, &addresses);
        objects_take(objects, objects_resolution(name, addresses));
    }
    free(text);
}

static void objects_load(struct objects *objects, const char *dir)
{
    struct dirent **files;
    int n = scandir(dir, &files, is_manifest, alphasort);
    assert_true(n > 0);
    for (int i = 0; i < n; i++) {
        size_t bytes;
        char *text = file_read(dir, files[i]->d_name, &bytes);
        assert_non_null(text);
        assert_true(objects_parse(objects, files[i]->d_name, str_make(text, bytes)));
        free(text);
        free(files[i]);
    }
    free(files);
    resolutions_load(objects, dir);
    assert_int_equal(objects->diag_n, 0); /* the manifests themselves are sound */
}

static bool is_given(const void *arg, struct str name)
{
    const struct golden *g = arg;
    return str_eq(name, g->given);
}

/* False when it is none of these. */
static bool https_option(struct https_policy *policy, struct str word, struct str value)
{
    struct {
        struct str word;
        bool *flag;
    } flags[] = {
        {STR("ssl-redirect"),          &policy->is_redirecting  },
        {STR("force-ssl-redirect"),    &policy->is_forcing      },
        {STR("use-port-in-redirects"), &policy->tells_port      },
        {STR("hsts"),                  &policy->has_hsts        },
        {STR("hsts-preload"),          &policy->has_hsts_preload},
    };
    uint64_t number;
    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
        if (str_eq(word, flags[i].word)) {
            *flags[i].flag = str_eq(value, STR("true"));
            return true;
        }
    }
    if (str_eq(word, STR("hsts-max-age"))) {
        assert_true(str_to_u64(value, UINT32_MAX, &policy->hsts_max_age_s));
        return true;
    }
    if (str_eq(word, STR("hsts-include-subdomains"))) {
        policy->hsts_subdomains =
            str_eq(value, STR("true")) ? HSTS_SUBDOMAINS_ON : HSTS_SUBDOMAINS_OFF;
        return true;
    }
    if (str_eq(word, STR("http-redirect-code"))) {
        assert_true(str_to_u64(value, 308, &number));
        policy->redirect_status = (uint16_t)number;
        return true;
    }
    if (str_eq(word, STR("no-tls-redirect-locations"))) {
        policy->plain_path_n = value.n > 0;
        policy->plain_paths[0] = value;
        return true;
    }
    return false;
}

static void options_load(struct golden *g)
{
    struct str rest, line, word, value;
    char *text = file_read(g->dir, "options.txt", NULL);
    g->options = (struct compile_options){
        .controller = STR("lintel.dev/ingress-controller"),
        .ingress_class = STR("lintel"),
        .default_namespace = STR_EMPTY,
        .default_service = STR_EMPTY,
        .config_namespace = STR_EMPTY,
        .config_map = STR_EMPTY,
        .https = https_policy_default,
    };
    g->options_text[0] = '\0';
    strncat(g->options_text, text == NULL ? "" : text, sizeof(g->options_text) - 1);
    free(text);
    rest = str_from_cstr(g->options_text);
    while (str_cut(rest, '\n', &line, &rest)) {
        (void)str_cut(line, ' ', &word, &value);
        if (str_eq(word, STR("ingress-class-by-name"))) {
            g->options.is_class_by_name = true;
        } else if (str_eq(word, STR("watch-ingress-without-class"))) {
            g->options.is_classless_watched = true;
        } else if (str_eq(word, STR("disable-svc-external-name"))) {
            g->options.is_external_name_disabled = true;
        } else if (str_eq(word, STR("enable-ssl-passthrough"))) {
            g->options.has_passthrough = true;
        } else if (str_eq(word, STR("controller-class"))) {
            g->options.controller = value;
        } else if (str_eq(word, STR("node-name"))) {
            g->options.node_name = value;
        } else if (str_eq(word, STR("hidden-classes"))) {
            g->are_classes_hidden = true;
        } else if (str_eq(word, STR("default-ssl-certificate"))) {
            assert_true(str_cut(value, '/', &g->options.default_certificate_namespace,
                                &g->options.default_certificate));
        } else if (str_eq(word, STR("default-backend-service"))) {
            assert_true(
                str_cut(value, '/', &g->options.default_namespace, &g->options.default_service));
        } else if (str_eq(word, STR("configmap"))) {
            assert_true(str_cut(value, '/', &g->options.config_namespace, &g->options.config_map));
        } else if (str_eq(word, STR("given"))) {
            g->given = value;
            g->options.is_given = is_given;
            g->options.given_arg = g;
        } else if (https_option(&g->options.https, word, value)) {
            g->options.has_https = true;
        } else {
            fail_msg("unknown option %.*s", STR_ARG(word));
        }
    }
}

/* ---- compiling ---- */

struct bench {
    struct store *store;
    struct compile *compile;
    struct compiled state;
};

static void bench_init(struct bench *b, const struct golden *g)
{
    *b = (struct bench){0};
    assert_int_equal(store_new(&b->store), E_OK);
    assert_int_equal(compile_new(b->store, &g->options, &b->compile), E_OK);
    compile_hide_classes(b->compile, g->are_classes_hidden);
}

static void bench_run(struct bench *b)
{
    assert_int_equal(compile_run(b->compile, compiled_take, &b->state), E_OK);
    assert_false(compile_is_dirty(b->compile));
    assert_int_equal(b->state.wrong_n, 0);
}

static void bench_fini(struct bench *b)
{
    compile_free(b->compile);
    store_free(b->store);
    compiled_fini(&b->state);
}

/* Both say the same, in bytes and in diagnostics. */
static void result_get(const struct bench *b, struct buf *bytes, struct buf *text)
{
    buf_reset(bytes);
    buf_reset(text);
    assert_true(compiled_bytes(&b->state, bytes));
    compiled_text(&b->state, b->compile, text);
    assert_false(text->bad);
}

static void result_check(const struct bench *b, const struct buf *bytes, const struct buf *text)
{
    struct buf now_bytes, now_text;
    buf_init(&now_bytes, 1 << 24);
    buf_init(&now_text, 1 << 24);
    result_get(b, &now_bytes, &now_text);
    if (!str_eq(buf_str(&now_text), buf_str(text))) {
        fail_msg("wanted:\n%.*s\ngot:\n%.*s", STR_ARG(buf_str(text)), STR_ARG(buf_str(&now_text)));
    }
    assert_true(str_eq(buf_str(&now_bytes), buf_str(bytes)));
    buf_fini(&now_bytes);
    buf_fini(&now_text);
}

/* A small generator, so that a failure can be had again. */
static uint32_t random_next(uint32_t *seed)
{
    *seed = *seed * 1664525U + 1013904223U;
    return *seed >> 8;
}

static void shuffle(size_t *order, size_t n, uint32_t *seed)
{
    for (size_t i = 0; i < n; i++) {
        order[i] = i;
    }
    for (size_t i = n; i > 1; i--) {
        size_t j = random_next(seed) % i, kept = order[i - 1];
        order[i - 1] = order[j];
        order[j] = kept;
    }
}

/* All at once, in a random order. */
static void permutation_check(const struct golden *g, const struct buf *bytes,
                              const struct buf *text, uint32_t seed)
{
    struct objects objects = {0};
    struct bench b;
    bench_init(&b, g);
    objects_load(&objects, g->dir);
    size_t *order = calloc(objects.n, sizeof(*order));
    shuffle(order, objects.n, &seed);
    for (size_t i = 0; i < objects.n; i++) {
        assert_int_equal(store_put(b.store, objects_give(&objects, order[i])), E_OK);
    }
    bench_run(&b);
    result_check(&b, bytes, text);
    free(order);
    objects_fini(&objects);
    bench_fini(&b);
}

static void object_del(struct bench *b, const struct objects *objects, size_t i)
{
    const struct object *o = objects->items[i];
    assert_true(store_del(b->store, o->kind, o->namespace_name, o->name));
}

static void object_put(struct bench *b, const struct golden *g, size_t i)
{
    struct objects fresh = {0};
    objects_load(&fresh, g->dir);
    assert_int_equal(store_put(b->store, objects_give(&fresh, i)), E_OK);
    objects_fini(&fresh);
}

/* One by one in a random order, with deletions and additions between; nearly every step is a run of
 * its own. */
static void history_check(const struct golden *g, const struct buf *bytes, const struct buf *text,
                          uint32_t seed)
{
    struct objects names = {0};
    struct bench b;
    bench_init(&b, g);
    objects_load(&names, g->dir);
    bool *is_there = calloc(names.n, sizeof(*is_there));
    size_t *order = calloc(names.n, sizeof(*order));
    for (size_t step = 0; step < 4 * names.n; step++) {
        size_t i = random_next(&seed) % names.n;
        if (is_there[i]) {
            object_del(&b, &names, i);
        } else {
            object_put(&b, g, i);
        }
        is_there[i] = !is_there[i];
        if (random_next(&seed) % 4 > 0) {
            bench_run(&b);
        }
    }
    shuffle(order, names.n, &seed);
    for (size_t i = 0; i < names.n; i++) {
        if (!is_there[order[i]]) {
            object_put(&b, g, order[i]);
            bench_run(&b);
        }
    }
    bench_run(&b);
    result_check(&b, bytes, text);
    for (size_t i = 0; i < names.n; i++) { /* and nothing is left of it */
        object_del(&b, &names, order[i]);
        bench_run(&b);
    }
    size_t rest = 1; /* the global shard */
    if (g->options.default_service.n > 0) {
        rest += 2;
    }
    assert_int_equal(b.state.shards.n, rest);
    free(is_there);
    free(order);
    objects_fini(&names);
    bench_fini(&b);
}

/* ---- the test ---- */

static void expected_check(const struct golden *g, const struct buf *text)
{
    size_t n = 0;
    if (getenv("LINTEL_GOLDEN_UPDATE") != NULL) {
        char path[2 * PATH_BYTES];
        snprintf(path, sizeof(path), "%s/expected.txt", g->dir);
        FILE *f = fopen(path, "wb");
        assert_non_null(f);
        fwrite(text->p, 1, text->n, f);
        fclose(f);
    }
    char *expected = file_read(g->dir, "expected.txt", &n);
    if (expected == NULL || !str_eq(str_make(expected, n), buf_str(text))) {
        fail_msg("wanted:\n%s\ngot:\n%.*s", expected == NULL ? "?" : expected,
                 STR_ARG(buf_str(text)));
    }
    free(expected);
}

static void golden_check(void **state)
{
    struct golden g = {.dir = ""};
    struct objects objects = {0};
    struct buf bytes, text;
    struct bench b;
    snprintf(g.dir, sizeof(g.dir), "%s/%s", GOLDEN_DIR, (const char *)*state);
    options_load(&g);
    buf_init(&bytes, 1 << 24);
    buf_init(&text, 1 << 24);
    bench_init(&b, &g);
    objects_load(&objects, g.dir);
    for (size_t i = 0; i < objects.n; i++) {
        assert_int_equal(store_put(b.store, objects_give(&objects, i)), E_OK);
    }
    bench_run(&b);
    result_get(&b, &bytes, &text);
    expected_check(&g, &text);
    for (uint32_t seed = 1; seed <= PERMUTATIONS; seed++) {
        permutation_check(&g, &bytes, &text, seed);
    }
    for (uint32_t seed = 1; seed <= HISTORIES; seed++) {
        history_check(&g, &bytes, &text, seed);
    }
    objects_fini(&objects);
    bench_fini(&b);
    buf_fini(&bytes);
    buf_fini(&text);
}

int main(void)
{
    struct CMUnitTest tests[CASES_MAX];
    struct dirent **cases;
    int n = scandir(GOLDEN_DIR, &cases, is_case, alphasort);
    if (n <= 0 || n > CASES_MAX) {
        fprintf(stderr, "no cases, or too many, in %s\n", GOLDEN_DIR);
        return 1;
    }
    for (int i = 0; i < n; i++) {
        tests[i] = (struct CMUnitTest){
            .name = cases[i]->d_name, .test_func = golden_check, .initial_state = cases[i]->d_name};
    }
    int failed = _cmocka_run_group_tests("golden", tests, (size_t)n, NULL, NULL);
    for (int i = 0; i < n; i++) {
        free(cases[i]);
    }
    free(cases);
    return failed;
}
