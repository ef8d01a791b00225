/* model/store: puts, deletes, the index of slices, listeners, failing allocations, and a long
 * random run against a model that scans an array. */
#include "model/store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"

static const size_t object_sizes[OBJECT_KINDS_N] = {
    [OBJECT_INGRESS] = sizeof(struct ingress),
    [OBJECT_INGRESS_CLASS] = sizeof(struct ingress_class),
    [OBJECT_SERVICE] = sizeof(struct service),
    [OBJECT_ENDPOINT_SLICE] = sizeof(struct endpoint_slice),
    [OBJECT_ENDPOINTS] = sizeof(struct endpoint_slice),
    [OBJECT_SECRET] = sizeof(struct secret),
    [OBJECT_CONFIG_MAP] = sizeof(struct config_map),
    [OBJECT_NAMESPACE] = sizeof(struct namespace_object),
    [OBJECT_NODE] = sizeof(struct node_object),
    [OBJECT_RESOLUTION] = sizeof(struct resolution),
};

/* ---- building ---- */

static struct str copy(struct arena *a, const char *text)
{
    struct str s;
    assert_true(arena_str(a, str_from_cstr(text), &s));
    return s;
}

static void set_mark(struct object *o, const char *mark)
{
    struct string_pair *pair = arena_alloc(&o->arena, sizeof(*pair));
    assert_non_null(pair);
    *pair = (struct string_pair){STR("mark"), copy(&o->arena, mark)};
    o->labels = (struct string_map){pair, 1};
}

/* mark: a label that tells two versions of an object apart. */
static struct object *build(enum object_kind kind, const char *namespace_name, const char *name,
                            const char *mark)
{
    struct arena arena;
    arena_init(&arena, 1 << 20);
    struct object *o = arena_calloc(&arena, 1, object_sizes[kind]);
    assert_non_null(o);
    o->kind = kind;
    o->namespace_name = copy(&arena, namespace_name);
    o->name = copy(&arena, name);
    o->created_s = INT64_MAX;
    o->arena = arena;
    set_mark(o, mark);
    return o;
}

static struct object *build_slice(enum object_kind kind, const char *name, const char *service)
{
    struct object *o = build(kind, "default", name, "1");
    struct endpoint_slice *slice = (void *)o;
    slice->service = copy(&o->arena, service);
    return o;
}

/* A second subset behind the first one. */
static struct object *with_subset(struct object *o)
{
    struct endpoint_slice *slice = (void *)o;
    slice->next = arena_calloc(&o->arena, 1, sizeof(*slice));
    assert_non_null(slice->next);
    slice->next->object.kind = o->kind;
    slice->next->service = slice->service;
    return o;
}

/* ---- looking ---- */

static void count_slice(void *arg, const struct endpoint_slice *slice)
{
    (void)slice;
    ++*(size_t *)arg;
}

static size_t slices_of(const struct store *s, const char *service)
{
    size_t n = 0;
    store_each_slice(s, STR("default"), str_from_cstr(service), count_slice, &n);
    return n;
}

static void count_object(void *arg, const struct object *o)
{
    (void)o;
    ++*(size_t *)arg;
}

static const char *mark_of(const struct store *s, enum object_kind kind, const char *name)
{
    const struct object *o = store_get(s, kind, STR("default"), str_from_cstr(name));
    return o == NULL ? "none" : o->labels.items[0].value.p;
}

struct heard {
    size_t added, changed, deleted;
    char old_mark[8], new_mark[8];
};

static void hear(void *arg, const struct object *old_object, const struct object *new_object)
{
    struct heard *heard = arg;
    heard->added += old_object == NULL;
    heard->deleted += new_object == NULL;
    heard->changed += old_object != NULL && new_object != NULL;
    strcpy(heard->old_mark, old_object == NULL ? "" : old_object->labels.items[0].value.p);
    strcpy(heard->new_mark, new_object == NULL ? "" : new_object->labels.items[0].value.p);
}

static struct store *new_store(void)
{
    struct store *s;
    assert_int_equal(store_new(&s), E_OK);
    return s;
}

static void put(struct store *s, struct object *o)
{
    assert_int_equal(store_put(s, o), E_OK);
}

static bool del(struct store *s, enum object_kind kind, const char *name)
{
    return store_del(s, kind, STR("default"), str_from_cstr(name));
}

/* ---- tests ---- */

static void put_get_del(void **state)
{
    (void)state;
    struct store *s = new_store();
    assert_null(store_get(s, OBJECT_SERVICE, STR("default"), STR("a")));
    assert_false(del(s, OBJECT_SERVICE, "a"));
    put(s, build(OBJECT_SERVICE, "default", "a", "1"));
    put(s, build(OBJECT_SERVICE, "other", "a", "2"));
    put(s, build(OBJECT_SECRET, "default", "a", "3"));
    assert_string_equal(mark_of(s, OBJECT_SERVICE, "a"), "1");
    assert_string_equal(mark_of(s, OBJECT_SECRET, "a"), "3");
    assert_int_equal(store_n(s, OBJECT_SERVICE), 2);
    put(s, build(OBJECT_SERVICE, "default", "a", "4"));
    assert_string_equal(mark_of(s, OBJECT_SERVICE, "a"), "4");
    assert_int_equal(store_n(s, OBJECT_SERVICE), 2);
    assert_true(del(s, OBJECT_SERVICE, "a"));
    assert_string_equal(mark_of(s, OBJECT_SERVICE, "a"), "none");
    assert_non_null(store_get(s, OBJECT_SERVICE, STR("other"), STR("a")));
    size_t n = 0;
    store_each(s, OBJECT_SERVICE, count_object, &n);
    assert_int_equal(n, 1);
    store_free(s);
    store_free(NULL);
}

/* Namespace and name are two things: "a" + "bc" is not "ab" + "c". */
static void keys_do_not_run_together(void **state)
{
    (void)state;
    struct store *s = new_store();
    put(s, build(OBJECT_SERVICE, "a", "bc", "1"));
    assert_null(store_get(s, OBJECT_SERVICE, STR("ab"), STR("c")));
    assert_null(store_get(s, OBJECT_SERVICE, STR("bc"), STR("a")));
    put(s, build(OBJECT_INGRESS_CLASS, "", "lintel", "2"));
    assert_non_null(store_get(s, OBJECT_INGRESS_CLASS, STR_EMPTY, STR("lintel")));
    store_free(s);
}

static void deleting_by_the_objects_own_name(void **state)
{
    (void)state;
    struct store *s = new_store();
    put(s, build(OBJECT_SERVICE, "default", "a", "1"));
    const struct object *o = store_get(s, OBJECT_SERVICE, STR("default"), STR("a"));
    assert_true(store_del(s, o->kind, o->namespace_name, o->name));
    assert_int_equal(store_n(s, OBJECT_SERVICE), 0);
    store_free(s);
}

static void what_is_taken_is_the_callers(void **state)
{
    (void)state;
    struct store *s = new_store();
    struct heard heard = {0};
    struct store_listener listener;
    put(s, build(OBJECT_ENDPOINT_SLICE, "default", "a", "1"));
    store_listen(s, &listener, hear, &heard);
    assert_null(store_take(s, OBJECT_ENDPOINT_SLICE, STR("default"), STR("b")));
    struct object *o = store_take(s, OBJECT_ENDPOINT_SLICE, STR("default"), STR("a"));
    assert_non_null(o);
    assert_int_equal(store_n(s, OBJECT_ENDPOINT_SLICE), 0);
    assert_string_equal(heard.old_mark, "1");
    store_unlisten(&listener);
    put(s, o);
    assert_int_equal(store_n(s, OBJECT_ENDPOINT_SLICE), 1);
    store_free(s);
}

static void listener_hears_each_change_once(void **state)
{
    (void)state;
    struct store *s = new_store();
    struct heard heard = {0};
    struct store_listener listener;
    store_listen(s, &listener, hear, &heard);
    put(s, build(OBJECT_SERVICE, "default", "a", "1"));
    assert_int_equal(heard.added, 1);
    assert_string_equal(heard.new_mark, "1");
    put(s, build(OBJECT_SERVICE, "default", "a", "2"));
    assert_int_equal(heard.changed, 1);
    assert_string_equal(heard.old_mark, "1");
    assert_string_equal(heard.new_mark, "2");
    const struct object *kept = store_get(s, OBJECT_SERVICE, STR("default"), STR("a"));
    put(s,
        build(OBJECT_SERVICE, "default", "a", "2")); /* equal: nobody is told, the old one stays */
    assert_ptr_equal(kept, store_get(s, OBJECT_SERVICE, STR("default"), STR("a")));
    assert_int_equal(heard.added + heard.changed + heard.deleted, 2);
    assert_true(del(s, OBJECT_SERVICE, "a"));
    assert_int_equal(heard.deleted, 1);
    assert_string_equal(heard.old_mark, "2");
    assert_false(del(s, OBJECT_SERVICE, "a"));
    assert_int_equal(heard.deleted, 1);
    store_free(s);
}

static void every_listener_hears(void **state)
{
    (void)state;
    struct store *s = new_store();
    struct heard heard[2] = {0};
    struct store_listener listeners[2], silent = {0};
    store_unlisten(&silent); /* never listened */
    store_listen(s, &listeners[0], hear, &heard[0]);
    store_listen(s, &listeners[1], hear, &heard[1]);
    put(s, build(OBJECT_SERVICE, "default", "a", "1"));
    assert_int_equal(heard[0].added, 1);
    assert_int_equal(heard[1].added, 1);
    store_unlisten(&listeners[0]);
    put(s, build(OBJECT_SERVICE, "default", "b", "1"));
    assert_int_equal(heard[0].added, 1);
    assert_int_equal(heard[1].added, 2);
    store_unlisten(&listeners[1]);
    assert_true(del(s, OBJECT_SERVICE, "a"));
    assert_int_equal(heard[1].deleted, 0);
    store_free(s);
}

static void slices_by_service(void **state)
{
    (void)state;
    struct store *s = new_store();
    assert_int_equal(slices_of(s, "web"), 0);
    put(s, build_slice(OBJECT_ENDPOINT_SLICE, "web-1", "web"));
    put(s, build_slice(OBJECT_ENDPOINT_SLICE, "web-2", "web"));
    put(s, build_slice(OBJECT_ENDPOINT_SLICE, "api-1", "api"));
    put(s, build_slice(OBJECT_ENDPOINT_SLICE, "stray", "")); /* no label: nobody's */
    assert_int_equal(slices_of(s, "web"), 2);
    assert_int_equal(slices_of(s, "api"), 1);
    assert_int_equal(slices_of(s, ""), 0);
    put(s, build_slice(OBJECT_ENDPOINT_SLICE, "web-2", "api")); /* relabelled */
    assert_int_equal(slices_of(s, "web"), 1);
    assert_int_equal(slices_of(s, "api"), 2);
    assert_true(del(s, OBJECT_ENDPOINT_SLICE, "web-1"));
    assert_int_equal(slices_of(s, "web"), 0);
    size_t n = 0;
    store_each_slice(s, STR("other"), STR("api"), count_slice, &n);
    assert_int_equal(n, 0);
    store_free(s);
}

static void endpoints_are_left_out_beside_slices(void **state)
{
    (void)state;
    struct store *s = new_store();
    put(s, with_subset(build_slice(OBJECT_ENDPOINTS, "web", "web")));
    assert_int_equal(slices_of(s, "web"), 2); /* each subset */
    put(s, build_slice(OBJECT_ENDPOINT_SLICE, "web-1", "web"));
    assert_int_equal(slices_of(s, "web"), 1); /* the mirror is left out */
    assert_true(del(s, OBJECT_ENDPOINT_SLICE, "web-1"));
    assert_int_equal(slices_of(s, "web"), 2); /* and counts again */
    assert_true(del(s, OBJECT_ENDPOINTS, "web"));
    assert_int_equal(slices_of(s, "web"), 0);
    store_free(s);
}

static size_t allocations_of_put(struct store *s, struct object *o)
{
    size_t before = mem_calls();
    put(s, o);
    return mem_calls() - before;
}

/* A service that has lost its slices is like one that never had any. */
static void no_trace_of_services_without_slices(void **state)
{
    (void)state;
    struct store *s = new_store();
    put(s, build_slice(OBJECT_ENDPOINT_SLICE, "first", "first")); /* makes the tables */
    size_t fresh = allocations_of_put(s, build_slice(OBJECT_ENDPOINT_SLICE, "web-1", "web"));
    assert_true(del(s, OBJECT_ENDPOINT_SLICE, "web-1"));
    size_t again = allocations_of_put(s, build_slice(OBJECT_ENDPOINT_SLICE, "web-1", "web"));
    assert_int_equal(again, fresh);
    put(s, build_slice(OBJECT_ENDPOINT_SLICE, "web-1", "api")); /* relabelled: the last one left */
    again = allocations_of_put(s, build_slice(OBJECT_ENDPOINT_SLICE, "web-2", "web"));
    assert_int_equal(again, fresh);
    store_free(s);
}

static void a_new_store_without_memory(void **state)
{
    (void)state;
    struct store *s = NULL;
    mem_fail_from(1);
    enum err error = store_new(&s);
    mem_fail_from(0);
    assert_int_equal(error, E_NOMEM);
    assert_null(s);
}

/* Each put is tried with every allocation failing before it succeeds; in between nothing moves. */
static void failing_allocations_change_nothing(void **state)
{
    (void)state;
    struct store *s = new_store();
    for (int i = 0; i < 40; i++) {
        char name[16], service[16];
        snprintf(name, sizeof(name), "slice-%d", i % 30); /* the last ten are replaced */
        snprintf(service, sizeof(service), "service-%d", i / 2);
        enum err error = E_NOMEM;
        for (size_t nth = 1; error != E_OK; nth++) {
            size_t before = store_n(s, OBJECT_ENDPOINT_SLICE);
            size_t slices_before = slices_of(s, service);
            struct object *o = build_slice(OBJECT_ENDPOINT_SLICE, name, service);
            mem_fail_from(nth);
            error = store_put(s, o);
            mem_fail_from(0);
            if (error != E_OK) {
                assert_int_equal(error, E_NOMEM);
                assert_int_equal(store_n(s, OBJECT_ENDPOINT_SLICE), before);
                assert_int_equal(slices_of(s, service), slices_before);
            }
        }
        assert_true(slices_of(s, service) > 0);
    }
    assert_int_equal(store_n(s, OBJECT_ENDPOINT_SLICE), 30);
    store_free(s);
}

/* ---- random runs against an array ---- */

enum { NAMES = 24, SERVICES = 5, STEPS = 20000 };

struct cell { /* of the model: one possible object */
    bool is_there;
    int service;
    int mark;
};

static size_t model_slices(const struct cell cells[2][NAMES], int service)
{
    size_t n[2] = {0, 0};
    for (int kind = 0; kind < 2; kind++) {
        for (int i = 0; i < NAMES; i++) {
            n[kind] += cells[kind][i].is_there && cells[kind][i].service == service;
        }
    }
    return n[0] > 0 ? n[0] : n[1];
}

static void check_against_model(const struct store *s, const struct cell cells[2][NAMES])
{
    static const enum object_kind kinds[2] = {OBJECT_ENDPOINT_SLICE, OBJECT_ENDPOINTS};
    char text[16];
    for (int service = 0; service < SERVICES; service++) {
        snprintf(text, sizeof(text), "s%d", service);
        assert_int_equal(slices_of(s, text), model_slices(cells, service));
    }
    for (int kind = 0; kind < 2; kind++) {
        size_t n = 0;
        for (int i = 0; i < NAMES; i++) {
            char mark[16];
            snprintf(text, sizeof(text), "n%d", i);
            snprintf(mark, sizeof(mark), "%d", cells[kind][i].mark);
            assert_string_equal(mark_of(s, kinds[kind], text),
                                cells[kind][i].is_there ? mark : "none");
            n += cells[kind][i].is_there;
        }
        assert_int_equal(store_n(s, kinds[kind]), n);
    }
}

static void random_step(struct store *s, struct cell cells[2][NAMES], unsigned int *seed)
{
    int kind = rand_r(seed) % 2;
    int i = rand_r(seed) % NAMES;
    struct cell *cell = &cells[kind][i];
    enum object_kind object_kind = kind == 0 ? OBJECT_ENDPOINT_SLICE : OBJECT_ENDPOINTS;
    char name[16], service[16], mark[16];
    snprintf(name, sizeof(name), "n%d", i);
    if (rand_r(seed) % 3 == 0) {
        assert_int_equal(del(s, object_kind, name), cell->is_there);
        cell->is_there = false;
        return;
    }
    struct cell next = {true, rand_r(seed) % SERVICES, rand_r(seed) % 3};
    snprintf(service, sizeof(service), "s%d", next.service);
    snprintf(mark, sizeof(mark), "%d", next.mark);
    struct object *o = build_slice(object_kind, name, service);
    set_mark(o, mark);
    bool is_failing = rand_r(seed) % 4 == 0;
    mem_fail_from(is_failing ? (size_t)(1 + rand_r(seed) % 2) : 0);
    enum err error = store_put(s, o);
    mem_fail_from(0);
    assert_true(error == E_OK || is_failing);
    *cell = error == E_OK ? next : *cell;
}

static void random_run(void **state)
{
    (void)state;
    unsigned int seed = 20260101;
    struct cell cells[2][NAMES] = {0};
    struct store *s = new_store();
    for (int i = 0; i < STEPS; i++) {
        random_step(s, cells, &seed);
        if (i % 50 == 0) {
            check_against_model(s, (const struct cell(*)[NAMES])cells);
        }
    }
    check_against_model(s, (const struct cell(*)[NAMES])cells);
    store_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(put_get_del),
        cmocka_unit_test(keys_do_not_run_together),
        cmocka_unit_test(deleting_by_the_objects_own_name),
        cmocka_unit_test(what_is_taken_is_the_callers),
        cmocka_unit_test(listener_hears_each_change_once),
        cmocka_unit_test(every_listener_hears),
        cmocka_unit_test(slices_by_service),
        cmocka_unit_test(endpoints_are_left_out_beside_slices),
        cmocka_unit_test(no_trace_of_services_without_slices),
        cmocka_unit_test(a_new_store_without_memory),
        cmocka_unit_test(failing_allocations_change_nothing),
        cmocka_unit_test(random_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
