/* The series of requests: which are one, what happens when there is no room, when routes go, when a
 * worker dies, and what a reader in another process sees meanwhile. */
#include "stats/series.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "snapshot/schema.h"

enum { TEXT_ROOM = 2048 };

/* A shard with one route and one backend, as far as series look at it. */
struct place {
    struct snap_host host;
    struct snap_route route;
    struct snap_backend backend;
    uint32_t n;
    char text[TEXT_ROOM];
};

static struct snap_str put(struct place *p, const char *s)
{
    struct snap_str at = {(uint32_t)(offsetof(struct place, text) + p->n), (uint32_t)strlen(s)};
    assert_true(p->n + at.n + 1 <= TEXT_ROOM);
    mem_copy(p->text + p->n, s, at.n + 1);
    p->n += at.n + 1;
    return at;
}

static void make_place(struct place *p, const char *ingress, const char *host, const char *path)
{
    *p = (struct place){0};
    p->host.host = put(p, host);
    p->route.owner_namespace = put(p, "shop");
    p->route.owner_name = put(p, ingress);
    p->route.path = put(p, path);
    p->backend.service = put(p, "shop/web/80");
}

static struct series_key key_of(const struct place *p, const char *method, uint16_t status)
{
    return (struct series_key){.host = &p->host,
                               .route = &p->route,
                               .backend = &p->backend,
                               .generation = 1,
                               .method = str_from_cstr(method),
                               .status = status};
}

static const struct series_sample quick = {.now = 1000,
                                           .duration = 1500,
                                           .connect = 0,
                                           .header = 1000,
                                           .response = 1200,
                                           .request_bytes = 200,
                                           .response_bytes = 5000};

struct world {
    struct stats_area *area;
    struct series_table *table;
    int fd;
};

static void make_world(struct world *w, uint32_t workers)
{
    assert_int_equal(stats_create(workers, &w->area, &w->fd), E_OK);
    assert_int_equal(series_table_new(w->area, 0, &w->table), E_OK);
}

static void free_world(struct world *w)
{
    series_table_free(w->table);
    stats_close(w->area);
    close(w->fd);
}

static size_t group_n(const struct world *w)
{
    struct series_set set;
    size_t n = 0;
    assert_int_equal(series_set_init(&set, w->area, SERIES_BY_LABELS), E_OK);
    for (size_t i = 0; i < set.n; i = series_set_group(&set, i)) {
        n += set.refs[i].slot != 0; /* without "_other" */
    }
    series_set_fini(&set);
    return n;
}

static uint64_t requests_of(const struct series *s)
{
    uint64_t n = 0;
    for (size_t i = 0; i <= STATS_DURATIONS_N; i++) {
        n += stats_get(&s->figures.duration.counts[i]);
    }
    return n;
}

/* Requests of all workers on the Ingress, as a scrape adds them up. */
static uint64_t requests_on(const struct world *w, const char *ingress)
{
    struct series_set set;
    uint64_t sum = 0;
    assert_int_equal(series_set_init(&set, w->area, SERIES_BY_ROUTE), E_OK);
    for (size_t i = 0; i < set.n; i++) {
        struct series_labels l;
        const struct series *s = series_get(w->area, &set.refs[i]);
        assert_true(series_labels_read(s, &set.refs[i], &l));
        sum += str_eq(series_texts(&l).ingress, str_from_cstr(ingress)) ? requests_of(s) : 0;
    }
    series_set_fini(&set);
    return sum;
}

static const struct series *only_series(const struct world *w, struct series_labels *ret)
{
    struct series_set set;
    assert_int_equal(series_set_init(&set, w->area, SERIES_BY_LABELS), E_OK);
    assert_int_equal(set.n, 1); /* "_other" shows only when it was needed */
    struct series_ref r = set.refs[0];
    series_set_fini(&set);
    assert_true(series_labels_read(series_get(w->area, &r), &r, ret));
    return series_get(w->area, &r);
}

/* ---- what is one ---- */

static void labels_come_from_the_route(void **state)
{
    struct world w;
    struct place p;
    struct series_labels l;
    (void)state;
    make_world(&w, 1);
    make_place(&p, "cart", "*.shop.test", "/cart");
    struct series_key k = key_of(&p, "POST", 201);
    series_record(w.table, &k, &quick);
    const struct series *s = only_series(&w, &l);
    struct series_texts x = series_texts(&l);
    assert_true(str_eq(x.namespace_name, STR("shop")) && str_eq(x.ingress, STR("cart")));
    assert_true(str_eq(x.service, STR("web")) && str_eq(x.host, STR("*.shop.test")));
    assert_true(str_eq(x.path, STR("/cart")));
    assert_int_equal(l.status, 201);
    assert_int_equal(series_method_of(&l), SERIES_POST);
    assert_int_equal(stats_get(&s->figures.duration.sum), 1500);
    assert_int_equal(stats_get(&s->figures.duration.counts[4]), 1); /* 1 ms < it <= 2.5 ms */
    assert_int_equal(stats_get(&s->figures.response_size.sum), 5000);
    free_world(&w);
}

static void no_route_is_a_series_too(void **state)
{
    struct world w;
    struct series_labels l;
    (void)state;
    make_world(&w, 1);
    const struct series_key k = {.method = STR("GET"), .status = 404, .reason = REASON_no_route};
    struct series_sample s = quick;
    s.connect = s.header = s.response = SERIES_NONE;
    series_record(w.table, &k, &s);
    const struct series *at = only_series(&w, &l);
    assert_true(str_eq(series_texts(&l).host, STR("_")) && l.ingress_n == 0);
    assert_int_equal(l.reason, REASON_no_route);
    assert_int_equal(stats_get(&at->figures.header.sum), 0);
    assert_int_equal(stats_get(&at->figures.connect.counts[0]), 0);
    free_world(&w);
}

static void without_hosts(void **state)
{
    struct world w;
    struct place a, b;
    (void)state;
    assert_int_equal(stats_create(1, &w.area, &w.fd), E_OK);
    w.area->is_per_host = 0;
    assert_int_equal(series_table_new(w.area, 0, &w.table), E_OK);
    make_place(&a, "cart", "a.test", "/");
    make_place(&b, "cart", "b.test", "/");
    struct series_key k = key_of(&a, "GET", 200), other = key_of(&b, "GET", 200);
    series_record(w.table, &k, &quick);
    series_record(w.table, &other, &quick);
    assert_int_equal(group_n(&w), 1);
    free_world(&w);
}

static void the_same_labels_are_one_series(void **state)
{
    struct world w;
    struct place a, b;
    (void)state;
    make_world(&w, 1);
    make_place(&a, "cart", "a.test", "/");
    make_place(&b, "cart", "a.test", "/"); /* the next generation's copy */
    struct series_key k = key_of(&a, "GET", 200), later = key_of(&b, "GET", 200);
    series_record(w.table, &k, &quick);
    k.generation = 2;
    series_record(w.table, &k, &quick);
    series_record(w.table, &later, &quick);
    assert_int_equal(group_n(&w), 1);
    assert_int_equal(requests_on(&w, "cart"), 3);
    free_world(&w);
}

/* The address is another route's now: the generation tells. */
static void an_address_that_is_used_again(void **state)
{
    struct world w;
    struct place p;
    (void)state;
    make_world(&w, 1);
    make_place(&p, "old", "a.test", "/");
    struct series_key k = key_of(&p, "GET", 200);
    series_record(w.table, &k, &quick);
    make_place(&p, "new", "a.test", "/");
    k.generation = 2;
    series_record(w.table, &k, &quick);
    assert_int_equal(requests_on(&w, "old"), 1);
    assert_int_equal(requests_on(&w, "new"), 1);
    free_world(&w);
}

static void method_status_and_reason_are_apart(void **state)
{
    struct world w;
    struct place p;
    (void)state;
    make_world(&w, 1);
    make_place(&p, "cart", "a.test", "/");
    struct series_key k = key_of(&p, "GET", 200);
    series_record(w.table, &k, &quick);
    k.method = STR("BREW");
    series_record(w.table, &k, &quick);
    k.method = STR("get"); /* methods are case-sensitive: RFC 9110 section 9.1 */
    series_record(w.table, &k, &quick);
    assert_int_equal(group_n(&w), 2);
    k.status = 502;
    series_record(w.table, &k, &quick);
    assert_int_equal(group_n(&w), 3);
    k.reason = REASON_upstream_reset; /* in the same group: the reason is no label of it */
    series_record(w.table, &k, &quick);
    assert_int_equal(group_n(&w), 3);
    assert_int_equal(stats_get(&series_region(w.area, 0)->live_n), 4);
    free_world(&w);
}

static void every_method_has_its_name(void **state)
{
    struct world w;
    struct place p;
    (void)state;
    make_world(&w, 1);
    make_place(&p, "cart", "a.test", "/");
    for (int m = SERIES_GET; m < SERIES_METHODS_N; m++) {
        struct series_key k = key_of(&p, series_method_name((enum series_method)m), 200);
        series_record(w.table, &k, &quick);
        assert_int_equal(group_n(&w), m);
    }
    free_world(&w);
}

static void texts_are_cut_at_the_limit(void **state)
{
    static char path[SERIES_TEXT_BYTES + 8];
    (void)state;
    for (size_t more = 0; more < 2; more++) {
        struct world w;
        struct place p;
        struct series_labels l;
        size_t others = strlen("shop") + strlen("cart") + strlen("web") + strlen("a.test");
        make_world(&w, 1);
        memset(path, 'x', sizeof(path));
        size_t n = SERIES_TEXT_BYTES - others + more;
        path[n - 1] = '\xa4'; /* the last character has two bytes */
        path[n - 2] = '\xc3';
        path[n] = '\0';
        make_place(&p, "cart", "a.test", path);
        struct series_key k = key_of(&p, "GET", 200);
        series_record(w.table, &k, &quick);
        only_series(&w, &l);
        assert_int_equal(series_texts(&l).path.n, more == 0 ? n : n - 2);
        assert_true(str_has_prefix(str_from_cstr(path), series_texts(&l).path));
        free_world(&w);
    }
}

/* ---- buckets ---- */

static unsigned bucket_hit(const stats_value *counts, unsigned n)
{
    for (unsigned i = 0; i <= n; i++) {
        if (stats_get(&counts[i]) != 0) {
            return i;
        }
    }
    fail();
    return 0;
}

static unsigned bucket_due(const uint64_t *bounds, unsigned n, uint64_t v)
{
    unsigned i = 0;
    while (i < n && v > bounds[i]) {
        i++;
    }
    return i;
}

static void check_value(struct world *w, const struct place *p, uint64_t v)
{
    struct series_key k = key_of(p, "GET", 200);
    struct series_sample s = quick;
    struct series_figures *totals = &series_region(w->area, 0)->totals;
    *totals = (struct series_figures){0};
    s.duration = s.request_bytes = v;
    series_record(w->table, &k, &s);
    assert_int_equal(bucket_hit(totals->duration.counts, STATS_DURATIONS_N),
                     bucket_due(stats_duration_bounds, STATS_DURATIONS_N, v));
    assert_int_equal(bucket_hit(totals->request_size.counts, SERIES_SIZES_N),
                     bucket_due(series_size_bounds, SERIES_SIZES_N, v));
}

static void buckets_include_their_bound(void **state)
{
    struct world w;
    struct place p;
    (void)state;
    make_world(&w, 1);
    make_place(&p, "cart", "a.test", "/");
    for (size_t i = 0; i < STATS_DURATIONS_N; i++) {
        check_value(&w, &p, stats_duration_bounds[i]);
        check_value(&w, &p, stats_duration_bounds[i] + 1);
    }
    for (size_t i = 0; i < SERIES_SIZES_N; i++) {
        check_value(&w, &p, series_size_bounds[i]);
        check_value(&w, &p, series_size_bounds[i] + 1);
    }
    for (unsigned bit = 0; bit < 63; bit++) {
        check_value(&w, &p, (1ULL << bit) - 1);
        check_value(&w, &p, 1ULL << bit);
    }
    free_world(&w);
}

/* ---- the limit ---- */

static void fill(struct world *w, struct place *p, size_t n)
{
    char name[24];
    for (size_t i = 0; i < n; i++) {
        (void)snprintf(name, sizeof(name), "filler-%zu", i);
        make_place(p, name, "a.test", "/");
        struct series_key k = key_of(p, "GET", 200);
        k.generation = i + 1;
        series_record(w->table, &k, &quick);
    }
}

static void a_full_table_folds_what_is_new(void **state)
{
    struct world w;
    struct place p;
    (void)state;
    make_world(&w, 1);
    struct series_region *region = series_region(w.area, 0);
    fill(&w, &p, SERIES_MAX - 1); /* and "_other" */
    assert_int_equal(group_n(&w), SERIES_MAX - 1);
    assert_int_equal(stats_get(&region->folded), 0);
    make_place(&p, "late", "a.test", "/");
    struct series_key k = key_of(&p, "GET", 200);
    k.generation = SERIES_MAX;
    series_record(w.table, &k, &quick);
    series_record(w.table, &k, &quick);
    assert_int_equal(group_n(&w), SERIES_MAX - 1);
    assert_int_equal(stats_get(&region->folded), 2);
    assert_int_equal(requests_on(&w, "late"), 0);
    assert_int_equal(requests_on(&w, "_other"), 2);
    free_world(&w);
}

/* ---- the end of a life ---- */

static bool none_is_present(const void *arg, struct str namespace_name, struct str ingress)
{
    (void)arg;
    assert_true(str_eq(namespace_name, STR("shop")));
    (void)ingress;
    return false;
}

static bool all_are_present(const void *arg, struct str namespace_name, struct str ingress)
{
    (void)arg;
    (void)namespace_name;
    (void)ingress;
    return true;
}

static void retired_at_the_named_times(void **state)
{
    static const struct {
        series_present_fn *is_present;
        usec_t idle;
        size_t left;
    } cases[] = {
        {none_is_present, SERIES_GONE_MAX - 1, 1},
        {none_is_present, SERIES_GONE_MAX,     0},
        {all_are_present, SERIES_IDLE_MAX - 1, 1},
        {all_are_present, SERIES_IDLE_MAX,     0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct world w;
        struct place p;
        make_world(&w, 1);
        make_place(&p, "cart", "a.test", "/");
        struct series_key k = key_of(&p, "GET", 200);
        series_record(w.table, &k, &quick);
        assert_int_equal(
            series_retire(w.area, quick.now + cases[i].idle, cases[i].is_present, NULL), E_OK);
        assert_int_equal(group_n(&w), cases[i].left);
        free_world(&w);
    }
}

static void a_used_one_is_not_retired_anywhere(void **state)
{
    struct world w;
    struct place p;
    struct series_table *second;
    struct series_sample late = quick;
    (void)state;
    make_world(&w, 2);
    assert_int_equal(series_table_new(w.area, 1, &second), E_OK);
    make_place(&p, "cart", "a.test", "/");
    struct series_key k = key_of(&p, "GET", 200);
    series_record(w.table, &k, &quick);
    late.now += SERIES_GONE_MAX;
    series_record(second, &k, &late);
    assert_int_equal(series_retire(w.area, late.now, none_is_present, NULL), E_OK);
    assert_int_equal(requests_on(&w, "cart"), 2); /* the sum does not fall */
    late.now += SERIES_GONE_MAX;
    assert_int_equal(series_retire(w.area, late.now, none_is_present, NULL), E_OK);
    assert_int_equal(group_n(&w), 0); /* both at once */
    series_record(second, &k, &late);
    assert_int_equal(requests_on(&w, "cart"), 1); /* a new life begins at zero */
    series_table_free(second);
    free_world(&w);
}

static void room_comes_back(void **state)
{
    struct world w;
    struct place p;
    struct series_sample late = quick;
    (void)state;
    make_world(&w, 1);
    struct series_region *region = series_region(w.area, 0);
    fill(&w, &p, SERIES_MAX - 1);
    make_place(&p, "late", "a.test", "/");
    struct series_key k = key_of(&p, "GET", 200);
    k.generation = SERIES_MAX;
    late.now += SERIES_GONE_MAX;
    series_record(w.table, &k, &late); /* no room: it is told that it must look again later */
    assert_int_equal(stats_get(&region->folded), 1);
    assert_int_equal(series_retire(w.area, late.now, none_is_present, NULL), E_OK);
    series_record(w.table, &k, &late);
    assert_int_equal(stats_get(&region->folded), 2); /* not again within the pause */
    late.now += SERIES_SWEEP_PAUSE;
    series_record(w.table, &k, &late);
    assert_int_equal(requests_on(&w, "late"), 1);
    assert_int_equal(group_n(&w), 1);
    assert_int_equal(stats_get(&region->live_n), 1);
    fill(&w, &p, SERIES_MAX - 2); /* all of it can be used again */
    assert_int_equal(group_n(&w), SERIES_MAX - 1);
    assert_int_equal(stats_get(&region->folded), 2);
    free_world(&w);
}

/* ---- another process of the same worker ---- */

static void a_restarted_worker_goes_on(void **state)
{
    struct world w;
    struct place p;
    (void)state;
    make_world(&w, 1);
    make_place(&p, "cart", "a.test", "/");
    struct series_key k = key_of(&p, "GET", 200);
    series_record(w.table, &k, &quick);
    series_table_free(w.table);
    assert_int_equal(series_table_new(w.area, 0, &w.table), E_OK);
    series_record(w.table, &k, &quick);
    assert_int_equal(group_n(&w), 1);
    assert_int_equal(requests_on(&w, "cart"), 2);
    free_world(&w);
}

static void a_half_written_series_is_never_seen(void **state)
{
    struct world w;
    struct place p;
    (void)state;
    make_world(&w, 1);
    make_place(&p, "cart", "a.test", "/");
    struct series_key k = key_of(&p, "GET", 200);
    series_record(w.table, &k, &quick);
    struct series *s = &series_region(w.area, 0)->items[1];
    stats_set(&s->version, stats_get(&s->version) + 4 - 1); /* died while it wrote the next life */
    assert_int_equal(group_n(&w), 0);
    series_table_free(w.table);
    assert_int_equal(series_table_new(w.area, 0, &w.table), E_OK);
    assert_int_equal(stats_get(&series_region(w.area, 0)->live_n), 0);
    series_record(w.table, &k, &quick);
    assert_int_equal(requests_on(&w, "cart"), 1);
    assert_int_equal(stats_get(&series_region(w.area, 0)->used_n), 2); /* the same slot */
    free_world(&w);
}

/* A life that ended since the reader looked is not read, whatever has become of its slot. */
static void readers_see_that_a_life_is_over(void **state)
{
    struct world w;
    struct place p;
    struct series_set set;
    struct series_labels l;
    struct series_sample late = quick;
    (void)state;
    make_world(&w, 1);
    make_place(&p, "cart", "a.test", "/");
    struct series_key k = key_of(&p, "GET", 200);
    series_record(w.table, &k, &quick);
    assert_int_equal(series_set_init(&set, w.area, SERIES_BY_LABELS), E_OK);
    const struct series *at = series_get(w.area, &set.refs[0]);
    assert_true(series_labels_read(at, &set.refs[0], &l) && series_is_same(at, &set.refs[0]));
    late.now += SERIES_IDLE_MAX;
    assert_int_equal(series_retire(w.area, late.now, none_is_present, NULL), E_OK);
    series_record(w.table, &k, &late); /* begins anew: with the same labels */
    assert_false(series_labels_read(at, &set.refs[0], &l) || series_is_same(at, &set.refs[0]));
    series_set_fini(&set);
    free_world(&w);
}

/* Retires and rewrites the same few slots all the time: to the table it is full with them. */
static _Noreturn void write_for_ever(struct world *w)
{
    enum { SLOTS = 4 };
    struct series_sample s = quick;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* the reader may fail */
    for (uint64_t i = 0;; i++) {
        struct place p;
        char name[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
        memset(name, 'a' + (int)(i % 26), sizeof(name) - 1);
        make_place(&p, name, name, name);
        struct series_key k = key_of(&p, "GET", 200);
        k.generation = i + 1;
        s.now = (i + 1) * SERIES_IDLE_MAX;
        series_record(w->table, &k, &s);
        if (series_retire(w->area, s.now + SERIES_IDLE_MAX, none_is_present, NULL) != E_OK) {
            _exit(1);
        }
        if (i + 1 == SLOTS) {
            stats_set(&series_region(w->area, 0)->used_n, SERIES_MAX);
        }
    }
}

/* How many series were there to be read; all of them must be whole. */
static size_t read_whole(const struct world *w)
{
    struct series_set set;
    size_t whole_n = 0;
    assert_int_equal(series_set_init(&set, w->area, SERIES_BY_LABELS), E_OK);
    for (size_t i = 0; i < set.n; i++) {
        struct series_labels l;
        const struct series_ref *r = &set.refs[i];
        assert_int_not_equal(r->slot, 0); /* there was always room */
        if (series_labels_read(series_get(w->area, r), r, &l)) {
            struct series_texts x = series_texts(&l);
            assert_true(x.path.n == 32 && str_eq(x.path, x.host) && str_eq(x.path, x.ingress));
            assert_true(str_find(x.path, x.path.p[0]) == 0 && x.path.p[31] == x.path.p[0]);
            whole_n++;
        }
    }
    series_set_fini(&set);
    return whole_n;
}

/* Whatever is read while another process writes is one thing. It takes as long as it takes until
 * the writer has had its turns: the clock says nothing about that. */
static void readers_see_whole_labels(void **state)
{
    struct world w;
    (void)state;
    make_world(&w, 1);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        write_for_ever(&w);
    }
    for (size_t whole_n = 0; whole_n < 1000;) {
        size_t n = read_whole(&w);
        whole_n += n;
        if (n == 0) {
            assert_int_equal(waitpid(child, NULL, WNOHANG), 0); /* it goes on */
            (void)sched_yield();
        }
    }
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    free_world(&w);
}

/* Lengths that cannot be: texts stay inside the struct. */
static void hostile_labels_stay_inside(void **state)
{
    struct series_labels l = {.namespace_n = UINT16_MAX, .ingress_n = 5, .method = 255};
    (void)state;
    struct series_texts x = series_texts(&l);
    assert_int_equal(x.namespace_name.n, SERIES_TEXT_BYTES);
    assert_int_equal(x.ingress.n, 0);
    assert_int_equal(series_method_of(&l), SERIES_OTHER);
}

/* ---- memory ---- */

static void recording_allocates_nothing(void **state)
{
    struct world w;
    struct place p;
    (void)state;
    make_world(&w, 1);
    size_t before = mem_calls();
    fill(&w, &p, SERIES_MAX + 10);
    assert_int_equal(mem_calls(), before);
    free_world(&w);
}

static void out_of_memory(void **state)
{
    struct world w;
    struct series_set set;
    struct series_table *second;
    (void)state;
    make_world(&w, 1);
    mem_fail_from(1);
    assert_int_equal(series_table_new(w.area, 0, &second), E_NOMEM);
    assert_int_equal(series_set_init(&set, w.area, SERIES_BY_LABELS), E_NOMEM);
    assert_int_equal(series_retire(w.area, 1, none_is_present, NULL), E_NOMEM);
    mem_fail_from(0);
    series_set_fini(&set);
    free_world(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(labels_come_from_the_route),
        cmocka_unit_test(no_route_is_a_series_too),
        cmocka_unit_test(without_hosts),
        cmocka_unit_test(the_same_labels_are_one_series),
        cmocka_unit_test(an_address_that_is_used_again),
        cmocka_unit_test(method_status_and_reason_are_apart),
        cmocka_unit_test(every_method_has_its_name),
        cmocka_unit_test(texts_are_cut_at_the_limit),
        cmocka_unit_test(buckets_include_their_bound),
        cmocka_unit_test(a_full_table_folds_what_is_new),
        cmocka_unit_test(retired_at_the_named_times),
        cmocka_unit_test(a_used_one_is_not_retired_anywhere),
        cmocka_unit_test(room_comes_back),
        cmocka_unit_test(a_restarted_worker_goes_on),
        cmocka_unit_test(a_half_written_series_is_never_seen),
        cmocka_unit_test(readers_see_that_a_life_is_over),
        cmocka_unit_test(readers_see_whole_labels),
        cmocka_unit_test(hostile_labels_stay_inside),
        cmocka_unit_test(recording_allocates_nothing),
        cmocka_unit_test(out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
