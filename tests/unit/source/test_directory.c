/* source/directory: real directories, real inotify, a parser double. A file of the double is lines:
 * "NAME VALUE" is a Service whose externalName is VALUE, "!" an error, "?" a warning. */
#include "source/directory.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"

/* ---- the parser double ---- */

static struct object *build(struct str file, uint32_t line, struct str name, struct str value)
{
    struct arena arena;
    arena_init(&arena, 1 << 16);
    struct service *s = arena_calloc(&arena, 1, sizeof(*s));
    if (s == NULL || !arena_str(&arena, name, &s->object.name) ||
        !arena_str(&arena, value, &s->external_name) || !arena_str(&arena, file, &s->object.file) ||
        !arena_str(&arena, STR("default"), &s->object.namespace_name)) {
        arena_fini(&arena);
        return NULL;
    }
    s->object.kind = OBJECT_SERVICE;
    s->object.created_s = INT64_MAX;
    s->object.line = line;
    s->type = SERVICE_EXTERNAL_NAME;
    s->object.arena = arena;
    return &s->object;
}

static enum err parse(struct str file_name, struct str content, manifest_object_fn *give,
                      diag_fn *tell, void *arg)
{
    struct str line, name, value;
    for (uint32_t number = 1; content.n > 0; number++) {
        (void)str_cut(content, '\n', &line, &content);
        bool is_error = str_eq(line, STR("!"));
        if (is_error || str_eq(line, STR("?"))) {
            tell(arg, &(struct diag){.severity = is_error ? DIAG_ERROR : DIAG_WARNING,
                                     .reason = DIAG_MalformedDocument,
                                     .file = file_name,
                                     .line = number,
                                     .what = STR("is marked as wrong")});
        } else if (str_cut(line, ' ', &name, &value)) {
            struct object *o = build(file_name, number, name, value);
            if (o == NULL) {
                return E_NOMEM;
            }
            give(arg, o);
        }
    }
    return E_OK;
}

#define CHECK_EVERY (400 * USEC_PER_MS) /* sooner than DIRECTORY_CHECK: tests wait for it */

/* ---- the bench: one directory, its store, what was heard ---- */

struct bench {
    char top[64];      /* removed at the end */
    char path[80];     /* the root: top/m */
    struct loop *loop; /* NULL: offline */
    struct store *store;
    struct store_listener listener;
    struct directory *d;
    struct directory_options options;
    size_t batches, diags, changes, dels, progress_calls, progress_total;
    enum diag_reason last_reason;
    char last_file[PATH_MAX];
};

static void on_batch(void *arg)
{
    ((struct bench *)arg)->batches++;
}

static void on_diag(void *arg, const struct diag *diag)
{
    struct bench *b = arg;
    b->diags++;
    b->last_reason = diag->reason;
    assert_true(str_to_cstr(diag->file, b->last_file, sizeof(b->last_file)));
}

static void on_progress(void *arg, size_t done, size_t total)
{
    struct bench *b = arg;
    b->progress_calls++;
    b->progress_total = total;
    assert_true(done <= total);
}

static void on_change(void *arg, const struct object *old_object, const struct object *new_object)
{
    (void)old_object;
    struct bench *b = arg;
    b->changes++;
    b->dels += new_object == NULL;
}

static void bench_init(struct bench *b)
{
    *b = (struct bench){0};
    strcpy(b->top, "/tmp/lintel-directory-XXXXXX");
    assert_non_null(mkdtemp(b->top));
    snprintf(b->path, sizeof(b->path), "%s/m", b->top);
    assert_int_equal(mkdir(b->path, 0755), 0);
    b->options =
        (struct directory_options){parse, on_diag, on_batch, on_progress, b, 0, 0, CHECK_EVERY};
    assert_int_equal(store_new(&b->store), E_OK);
    store_listen(b->store, &b->listener, on_change, b);
    assert_int_equal(loop_new(&b->loop), E_OK);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static void remove_tree(const char *path)
{
    (void)nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void bench_fini(struct bench *b)
{
    directory_close(b->d);
    store_free(b->store);
    loop_free(b->loop);
    remove_tree(b->top);
}

static enum err try_open(struct bench *b, struct loop *loop)
{
    const char *paths[] = {b->path};
    return directory_open(loop, paths, 1, b->store, &b->options, &b->d);
}

static void start(struct bench *b)
{
    assert_int_equal(try_open(b, b->loop), E_OK);
    b->changes = b->batches = b->diags = 0;
}

static const char *at(const struct bench *b, const char *name)
{
    static char text[4][PATH_MAX]; /* a few may be alive at once */
    static size_t next;
    char *p = text[next++ % 4];
    assert_true(snprintf(p, PATH_MAX, "%s/%s", b->path, name) < PATH_MAX);
    return p;
}

static void write_file(const char *path, const char *content)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, content, strlen(content)), (ssize_t)strlen(content));
    close(fd);
}

static void put_file(const struct bench *b, const char *name, const char *content)
{
    write_file(at(b, name), content);
}

static void make_dir(const struct bench *b, const char *name)
{
    assert_int_equal(mkdir(at(b, name), 0755), 0);
}

/* As editors and kubectl do: write beside it, rename over it. */
static void replace_file(const struct bench *b, const char *name, const char *content)
{
    put_file(b, ".new", content);
    assert_int_equal(rename(at(b, ".new"), at(b, name)), 0);
}

static void link_to(const struct bench *b, const char *target, const char *name)
{
    assert_int_equal(symlink(target, at(b, name)), 0);
}

static const char *value_of(const struct bench *b, const char *name)
{
    const struct object *o =
        store_get(b->store, OBJECT_SERVICE, STR("default"), str_from_cstr(name));
    return o == NULL ? "none" : ((const struct service *)o)->external_name.p;
}

static void step(struct bench *b)
{
    assert_int_equal(loop_step(b->loop, 10 * USEC_PER_MS), E_OK);
}

/* Runs the loop until the object has that value ("none": is not there). */
static void await(struct bench *b, const char *name, const char *value)
{
    usec_t end = clock_monotonic() + 10 * USEC_PER_SEC;
    while (strcmp(value_of(b, name), value) != 0 && clock_monotonic() < end) {
        step(b);
    }
    assert_string_equal(value_of(b, name), value);
}

static void run_for(struct bench *b, usec_t time)
{
    for (usec_t end = clock_monotonic() + time; clock_monotonic() < end;) {
        step(b);
    }
}

/* Longer than anything deleted may stay. */
static void run_past_removal(struct bench *b)
{
    run_for(b, DIRECTORY_REMOVE_DELAY + 100 * USEC_PER_MS);
}

struct present {
    size_t n;
    size_t by_reason[DIAG_REASONS_N];
};

static void count_diag(void *arg, const struct diag *diag)
{
    struct present *present = arg;
    present->n++;
    present->by_reason[diag->reason]++;
}

static struct present present_diags(const struct bench *b)
{
    struct present present = {0};
    assert_int_equal(directory_each_diag(b->d, count_diag, &present), E_OK);
    return present;
}

static void await_diags(struct bench *b, enum diag_reason reason, size_t n)
{
    usec_t end = clock_monotonic() + 10 * USEC_PER_SEC;
    while (present_diags(b).by_reason[reason] != n && clock_monotonic() < end) {
        step(b);
    }
    assert_int_equal(present_diags(b).by_reason[reason], n);
}

/* ---- loading ---- */

static void loads_what_counts(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    make_dir(&b, "sub");
    make_dir(&b, "sub/deep");
    make_dir(&b, ".git");
    make_dir(&b, "..2026_01");
    make_dir(&b, "dir.yaml");
    put_file(&b, "a.yaml", "a 1\n");
    put_file(&b, "b.yml", "b 1\n");
    put_file(&b, "sub/c.json", "c 1\n");
    put_file(&b, "sub/deep/d.yaml", "d 1\n");
    put_file(&b, "dir.yaml/e.yaml", "e 1\n");
    static const char *const ignored[] = {
        "x.txt",   "yaml",       ".x.yaml", "x.yaml~",          "#x.yaml#",
        "#x.yaml", ".x.yaml.sw", "x.yamlx", "..2026_01/x.yaml", ".git/x.yaml",
    };
    for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++) {
        put_file(&b, ignored[i], "x 1\n");
    }
    assert_int_equal(mkfifo(at(&b, "fifo.yaml"), 0644), 0);
    assert_int_equal(try_open(&b, NULL), E_OK);
    assert_int_equal(store_n(b.store, OBJECT_SERVICE), 5);
    assert_int_equal(directory_file_n(b.d), 5);
    assert_int_equal(b.progress_calls, 5);
    assert_int_equal(b.progress_total, 5);
    assert_int_equal(b.batches, 0); /* the caller knows when loading is over */
    assert_int_equal(present_diags(&b).n, 0);
    bench_fini(&b);
}

static void single_files_of_any_name(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    put_file(&b, "manifests.txt", "a 1\n");
    put_file(&b, "b.yaml", "b 1\na 2\n");
    char one[PATH_MAX], two[PATH_MAX];
    strcpy(one, at(&b, "manifests.txt"));
    strcpy(two, at(&b, "b.yaml"));
    const char *paths[] = {one, two};
    assert_int_equal(directory_open(NULL, paths, 2, b.store, &b.options, &b.d), E_OK);
    assert_string_equal(value_of(&b, "a"), "2"); /* b.yaml stands before manifests.txt */
    assert_string_equal(value_of(&b, "b"), "1");
    assert_int_equal(present_diags(&b).by_reason[DIAG_DuplicateObject], 1);
    bench_fini(&b);
}

static void paths_that_are_not_there(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    strcat(b.path, "/nothing");
    assert_int_equal(try_open(&b, b.loop), E_NOTFOUND);
    assert_int_equal(symlink("nowhere", b.path), 0);
    assert_int_equal(try_open(&b, NULL), E_NOTFOUND);
    assert_int_equal(unlink(b.path), 0);
    assert_int_equal(mkfifo(b.path, 0644), 0);
    assert_int_equal(try_open(&b, NULL), E_REFUSED);
    assert_null(b.d);
    bench_fini(&b);
}

/* ---- following ---- */

static void follows_every_way_to_write(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    put_file(&b, "a.yaml", "a 1\nb 1\n");
    start(&b);
    put_file(&b, "a.yaml", "a 2\nb 1\n"); /* in place */
    await(&b, "a", "2");
    replace_file(&b, "a.yaml", "a 3\nb 1\n"); /* atomically */
    await(&b, "a", "3");
    put_file(&b, "c.yaml", "c 1\n"); /* a new file */
    await(&b, "c", "1");
    assert_int_equal(unlink(at(&b, "a.yaml")), 0);
    await(&b, "a", "none");
    await(&b, "b", "none");
    assert_string_equal(value_of(&b, "c"), "1");
    assert_int_equal(link(at(&b, "c.yaml"), at(&b, ".hidden")), 0);
    assert_int_equal(link(at(&b, ".hidden"), at(&b, "b.yaml")), 0); /* no write, no close */
    await_diags(&b, DIAG_DuplicateObject, 1);
    bench_fini(&b);
}

static void a_change_reads_one_file(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    for (int i = 0; i < 200; i++) {
        char name[32], content[32];
        snprintf(name, sizeof(name), "f%d.yaml", i);
        snprintf(content, sizeof(content), "s%d 1\n", i);
        put_file(&b, name, content);
    }
    start(&b);
    size_t before = directory_read_n(b.d);
    put_file(&b, "f77.yaml", "s77 2\n");
    await(&b, "s77", "2");
    run_past_removal(&b);
    assert_int_equal(directory_read_n(b.d), before + 1);
    assert_int_equal(b.changes, 1);
    assert_int_equal(b.batches, 1);
    bench_fini(&b);
}

static void an_object_leaves_a_clean_file(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    put_file(&b, "a.yaml", "a 1\nb 1\n");
    start(&b);
    put_file(&b, "a.yaml", "a 1\n?\n"); /* a warning is no error */
    await(&b, "b", "none");
    assert_string_equal(value_of(&b, "a"), "1");
    bench_fini(&b);
}

static void the_last_good_state_stays(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    put_file(&b, "a.yaml", "a 1\nb 1\nc 1\n");
    put_file(&b, "z.yaml", "z 1\n");
    start(&b);
    put_file(&b, "a.yaml", "a 2\n!\n");
    await(&b, "a", "2"); /* what it yields counts */
    run_past_removal(&b);
    assert_string_equal(value_of(&b, "b"), "1"); /* what it does not yield stays */
    assert_int_equal(present_diags(&b).by_reason[DIAG_MalformedDocument], 1);
    assert_string_equal(b.last_file, at(&b, "a.yaml"));
    put_file(&b, "z.yaml", "z 2\n"); /* others go on */
    await(&b, "z", "2");
    put_file(&b, "a.yaml", "a 2\nc 1\n"); /* mended, without b */
    await(&b, "b", "none");
    assert_string_equal(value_of(&b, "c"), "1");
    assert_int_equal(present_diags(&b).n, 0);
    bench_fini(&b);
}

static void a_file_becomes_unreadable(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    write_file(strcat(strcpy(b.last_file, b.top), "/outside"), "a 1\n");
    link_to(&b, "../outside", "a.yaml");
    start(&b);
    assert_string_equal(value_of(&b, "a"), "1");
    char outside[PATH_MAX];
    snprintf(outside, sizeof(outside), "%s/outside", b.top);
    assert_int_equal(unlink(outside), 0); /* the link leads nowhere now */
    await_diags(&b, DIAG_UnreadableFile, 1);
    run_for(&b, CHECK_EVERY + 200 * USEC_PER_MS);
    assert_int_equal(b.diags, 1); /* said once */
    assert_string_equal(value_of(&b, "a"), "1");
    write_file(outside, "a 2\n");
    await(&b, "a", "2");
    assert_int_equal(present_diags(&b).n, 0);
    bench_fini(&b);
}

static void permissions(void **state)
{
    (void)state;
    uid_t user = geteuid();
    if (user == 0) { /* root reads everything */
        assert_int_equal(seteuid(65534), 0);
    }
    struct bench b;
    bench_init(&b);
    put_file(&b, "a.yaml", "a 1\n");
    make_dir(&b, "sub");
    put_file(&b, "sub/b.yaml", "b 1\n");
    start(&b);
    assert_int_equal(chmod(at(&b, "a.yaml"), 0), 0);
    await_diags(&b, DIAG_UnreadableFile, 1);
    assert_string_equal(value_of(&b, "a"), "1");
    assert_int_equal(chmod(at(&b, "a.yaml"), 0644), 0);
    await_diags(&b, DIAG_UnreadableFile, 0);
    assert_int_equal(chmod(at(&b, "sub"), 0), 0); /* a directory */
    put_file(&b, "a.yaml", "a 2\n");
    await(&b, "a", "2");
    run_past_removal(&b);
    assert_string_equal(value_of(&b, "b"), "1");
    assert_int_equal(chmod(at(&b, "sub"), 0755), 0);
    put_file(&b, "sub/b.yaml", "b 2\n");
    await(&b, "b", "2");
    bench_fini(&b);
    assert_int_equal(seteuid(user), 0);
}

/* A writer that truncates and takes its time must not make the objects go away. */
static void a_slow_writer(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    put_file(&b, "a.yaml", "a 1\n");
    start(&b);
    int fd = open(at(&b, "a.yaml"), O_WRONLY | O_TRUNC);
    assert_true(fd >= 0);
    make_dir(&b, "other"); /* notices about other things */
    put_file(&b, "other/b.yaml", "b 1\n");
    await(&b, "b", "1");
    run_for(&b, 2 * DIRECTORY_REMOVE_DELAY);
    assert_string_equal(value_of(&b, "a"), "1");
    assert_int_equal(write(fd, "a 2\n", 4), 4);
    run_for(&b, 50 * USEC_PER_MS);
    assert_string_equal(value_of(&b, "a"), "1");
    close(fd);
    await(&b, "a", "2");
    assert_int_equal(b.dels, 0);
    bench_fini(&b);
}

/* The same without the notice that it is complete: an empty file is given time. */
static void a_slow_writer_while_polling(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    make_dir(&b, "sub");
    put_file(&b, "sub/a.yaml", "a 1\n");
    b.options.watches_max = 1;
    assert_int_equal(try_open(&b, b.loop), E_OK);
    assert_true(directory_is_polling(b.d));
    int fd = open(at(&b, "sub/a.yaml"), O_WRONLY | O_TRUNC);
    assert_true(fd >= 0);
    run_for(&b, 2 * CHECK_EVERY + 2 * DIRECTORY_REMOVE_DELAY);
    assert_int_equal(write(fd, "a 2\n", 4), 4);
    close(fd);
    await(&b, "a", "2");
    assert_int_equal(b.dels, 0);
    bench_fini(&b);
}

/* Deleted and written anew at once, or moved: nobody sees a gap. */
static void no_gap_when_a_file_is_rewritten_or_moved(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    put_file(&b, "b.yaml", "a 1\n");
    start(&b);
    assert_int_equal(unlink(at(&b, "b.yaml")), 0);
    step(&b);
    put_file(&b, "b.yaml", "a 2\n");
    await(&b, "a", "2");
    assert_int_equal(rename(at(&b, "b.yaml"), at(&b, "c.yaml")), 0); /* to behind */
    run_past_removal(&b);
    assert_int_equal(rename(at(&b, "c.yaml"), at(&b, "a.yaml")), 0); /* to before */
    run_past_removal(&b);
    assert_string_equal(value_of(&b, "a"), "2");
    assert_int_equal(b.dels, 0);
    assert_int_equal(b.changes, 1); /* moving changes nothing */
    assert_int_equal(b.diags, 0);
    assert_int_equal(directory_file_n(b.d), 1);
    bench_fini(&b);
}

/* ---- directories ---- */

static void directories_come_move_and_go(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    start(&b);
    make_dir(&b, "one");
    make_dir(&b, "one/two");
    put_file(&b, "one/two/a.yaml", "a 1\n"); /* before it is watched */
    await(&b, "a", "1");
    put_file(&b, "one/two/a.yaml", "a 2\n"); /* after */
    await(&b, "a", "2");
    assert_int_equal(rename(at(&b, "one"), at(&b, "uno")), 0);
    run_past_removal(&b);
    assert_string_equal(value_of(&b, "a"), "2");
    put_file(&b, "uno/two/a.yaml", "a 3\n");
    await(&b, "a", "3");
    char outside[PATH_MAX];
    snprintf(outside, sizeof(outside), "%s/outside", b.top);
    assert_int_equal(rename(at(&b, "uno"), outside), 0); /* out of sight */
    await(&b, "a", "none");
    assert_int_equal(rename(outside, at(&b, "back")), 0);
    await(&b, "a", "3");
    remove_tree(at(&b, "back"));
    await(&b, "a", "none");
    assert_int_equal(directory_file_n(b.d), 0);
    bench_fini(&b);
}

/* The layout of a ConfigMap volume: a.yaml -> ..data/a.yaml, ..data -> ..1, swapped by a rename. */
static void configmap_swap(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    make_dir(&b, "..1");
    make_dir(&b, "..1/sub");
    put_file(&b, "..1/a.yaml", "a 1\nold 1\n");
    put_file(&b, "..1/sub/b.yaml", "b 1\n");
    link_to(&b, "..1", "..data");
    link_to(&b, "..data/a.yaml", "a.yaml");
    link_to(&b, "..data/sub", "sub");
    start(&b);
    assert_int_equal(store_n(b.store, OBJECT_SERVICE), 3);
    make_dir(&b, "..2");
    make_dir(&b, "..2/sub");
    put_file(&b, "..2/a.yaml", "a 2\nnew 1\n");
    put_file(&b, "..2/sub/b.yaml", "b 2\n");
    put_file(&b, "..2/sub/c.yaml", "c 2\n");
    link_to(&b, "..2", "..data_tmp");
    step(&b);
    assert_int_equal(b.changes, 0); /* nothing before the swap */
    assert_int_equal(rename(at(&b, "..data_tmp"), at(&b, "..data")), 0);
    usec_t swapped = clock_monotonic();
    remove_tree(at(&b, "..1"));
    await(&b, "a", "2");
    await(&b, "b", "2");
    await(&b, "c", "2");
    assert_string_equal(value_of(&b, "new"), "1");
    assert_true(clock_monotonic() - swapped < CHECK_EVERY / 2); /* by notice, not by check */
    await(&b, "old", "none");
    assert_int_equal(b.dels, 1);
    put_file(&b, "..2/sub/b.yaml", "b 3\n"); /* the new directory is watched */
    await(&b, "b", "3");
    assert_int_equal(b.diags, 0);
    bench_fini(&b);
}

static void links_that_lead_back(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    make_dir(&b, "x");
    make_dir(&b, "y");
    put_file(&b, "x/a.yaml", "a 1\n");
    link_to(&b, ".", "self");
    link_to(&b, "..", "x/up");
    link_to(&b, "../y", "x/y");
    link_to(&b, "../x", "y/x");
    start(&b);
    assert_string_equal(value_of(&b, "a"), "1");
    assert_true(directory_file_n(b.d) < 5);
    struct present present = present_diags(&b);
    assert_true(present.by_reason[DIAG_LimitReached] > 0);
    bench_fini(&b);
}

static void depth_limit(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    char path[PATH_MAX] = "";
    for (int depth = 1; depth <= DIRECTORY_DEPTH_MAX + 1; depth++) {
        char name[PATH_MAX + 16], content[32];
        strcat(path, depth == 1 ? "d" : "/d");
        make_dir(&b, path);
        assert_true(snprintf(name, sizeof(name), "%s/f.yaml", path) > 0);
        snprintf(content, sizeof(content), "s%d 1\n", depth);
        put_file(&b, name, content);
    }
    start(&b);
    char name[16];
    snprintf(name, sizeof(name), "s%d", DIRECTORY_DEPTH_MAX);
    assert_string_equal(value_of(&b, name), "1");
    snprintf(name, sizeof(name), "s%d", DIRECTORY_DEPTH_MAX + 1);
    assert_string_equal(value_of(&b, name), "none");
    assert_int_equal(present_diags(&b).by_reason[DIAG_LimitReached], 1);
    bench_fini(&b);
}

static void root_goes_and_comes_back(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    make_dir(&b, "sub");
    put_file(&b, "a.yaml", "a 1\n");
    put_file(&b, "sub/b.yaml", "b 1\n");
    start(&b);
    remove_tree(b.path);
    await_diags(&b, DIAG_UnreadableFile, 1);
    run_for(&b, CHECK_EVERY + 2 * DIRECTORY_REMOVE_DELAY);
    assert_string_equal(value_of(&b, "a"), "1");
    assert_string_equal(value_of(&b, "b"), "1");
    assert_int_equal(mkdir(b.path, 0755), 0);
    put_file(&b, "a.yaml", "a 2\n");
    await(&b, "a", "2");
    await(&b, "b", "none");
    assert_int_equal(present_diags(&b).n, 0);
    put_file(&b, "a.yaml", "a 3\n"); /* notices work again */
    usec_t written = clock_monotonic();
    await(&b, "a", "3");
    assert_true(clock_monotonic() - written < CHECK_EVERY / 2);
    bench_fini(&b);
}

static void root_is_a_link_that_is_swapped(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    make_dir(&b, "v1");
    make_dir(&b, "v2");
    put_file(&b, "v1/a.yaml", "a 1\n");
    put_file(&b, "v2/a.yaml", "a 2\n");
    link_to(&b, "v1", "current");
    link_to(&b, "v2", "next");
    char current[PATH_MAX];
    strcpy(current, at(&b, "current"));
    const char *paths[] = {current};
    assert_int_equal(directory_open(b.loop, paths, 1, b.store, &b.options, &b.d), E_OK);
    assert_string_equal(value_of(&b, "a"), "1");
    assert_int_equal(rename(at(&b, "next"), current), 0);
    await(&b, "a", "2");
    assert_int_equal(b.dels, 0);
    bench_fini(&b);
}

/* ---- one object in two files ---- */

static void first_by_path_wins_in_any_order(void **state)
{
    (void)state;
    for (int order = 0; order < 2; order++) {
        struct bench b;
        bench_init(&b);
        start(&b);
        put_file(&b, order == 0 ? "a.yaml" : "b.yaml", order == 0 ? "x from-a\n" : "x from-b\n");
        await(&b, "x", order == 0 ? "from-a" : "from-b");
        put_file(&b, order == 0 ? "b.yaml" : "a.yaml", order == 0 ? "x from-b\n" : "x from-a\n");
        await_diags(&b, DIAG_DuplicateObject, 1);
        assert_string_equal(value_of(&b, "x"), "from-a");
        assert_string_equal(b.last_file, at(&b, "b.yaml")); /* the loser is told */
        put_file(&b, "b.yaml", "x from-b-2\n");
        run_for(&b, 50 * USEC_PER_MS);
        assert_string_equal(value_of(&b, "x"), "from-a");
        assert_int_equal(unlink(at(&b, "a.yaml")), 0);
        await(&b, "x", "from-b-2"); /* takes over */
        assert_int_equal(b.dels, 0);
        assert_int_equal(present_diags(&b).n, 0);
        put_file(&b, "a.yaml", "x from-a-2\n");
        await(&b, "x", "from-a-2");          /* takes it back */
        put_file(&b, "a.yaml", "other 1\n"); /* the object leaves, the file stays */
        await(&b, "x", "from-b-2");
        bench_fini(&b);
    }
}

static void three_places_and_a_broken_heir(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    put_file(&b, "a.yaml", "x a\n");
    put_file(&b, "b.yaml", "x b\n");
    put_file(&b, "c.yaml", "x c\n");
    start(&b);
    assert_int_equal(present_diags(&b).by_reason[DIAG_DuplicateObject], 2);
    put_file(&b, "b.yaml", "!\n"); /* still claims x, but could not yield it */
    await_diags(&b, DIAG_MalformedDocument, 1);
    assert_int_equal(unlink(at(&b, "a.yaml")), 0);
    run_past_removal(&b);
    assert_string_equal(value_of(&b, "x"), "a"); /* the last good one */
    put_file(&b, "b.yaml", "y b\n");             /* mended, without x */
    await(&b, "x", "c");
    assert_int_equal(b.dels, 0);
    bench_fini(&b);
}

static void twice_in_one_file(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    put_file(&b, "a.yaml", "x 1\nx 2\n");
    start(&b);
    assert_string_equal(value_of(&b, "x"), "1");
    assert_int_equal(present_diags(&b).by_reason[DIAG_DuplicateObject], 1);
    put_file(&b, "a.yaml", "x 3\n");
    await(&b, "x", "3");
    assert_int_equal(present_diags(&b).n, 0);
    bench_fini(&b);
}

/* ---- limits ---- */

static void file_size_limit(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    put_file(&b, "a.yaml", "a 1\n");
    assert_int_equal(truncate(at(&b, "a.yaml"), MANIFEST_FILE_BYTES_MAX), 0);
    put_file(&b, "b.yaml", "b 1\n");
    assert_int_equal(truncate(at(&b, "b.yaml"), (off_t)MANIFEST_FILE_BYTES_MAX + 1), 0);
    start(&b);
    assert_string_equal(value_of(&b, "a"), "1");
    assert_string_equal(value_of(&b, "b"), "none");
    assert_int_equal(present_diags(&b).by_reason[DIAG_LimitReached], 1);
    bench_fini(&b);
}

static void file_count_limit(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    b.options.files_max = 3;
    put_file(&b, "a.yaml", "a 1\n");
    put_file(&b, "b.yaml", "b 1\n");
    put_file(&b, "c.yaml", "c 1\n");
    start(&b);
    assert_int_equal(store_n(b.store, OBJECT_SERVICE), 3);
    assert_int_equal(present_diags(&b).n, 0);
    put_file(&b, "d.yaml", "d 1\n");
    await_diags(&b, DIAG_LimitReached, 1);
    assert_int_equal(b.diags, 1);
    assert_int_equal(store_n(b.store, OBJECT_SERVICE), 3);
    assert_int_equal(unlink(at(&b, "a.yaml")), 0);
    await(&b, "d", "1"); /* there is room now */
    await_diags(&b, DIAG_LimitReached, 0);
    bench_fini(&b);
}

/* Out of watches: looks through everything every second, says so once. */
static void polling_when_out_of_watches(void **state)
{
    (void)state;
    for (size_t watches = 2; watches <= 3; watches++) {
        struct bench b;
        bench_init(&b);
        make_dir(&b, "one");
        make_dir(&b, "two");
        put_file(&b, "one/a.yaml", "a 1\n");
        put_file(&b, "two/b.yaml", "b 1\n");
        b.options.watches_max = watches; /* needed: three */
        assert_int_equal(try_open(&b, b.loop), E_OK);
        assert_int_equal(directory_is_polling(b.d), watches < 3);
        assert_int_equal(b.diags, watches < 3);
        assert_int_equal(present_diags(&b).n, watches < 3);
        put_file(&b, "one/a.yaml", "a 2\n");
        put_file(&b, "two/b.yaml", "b 2\n");
        await(&b, "a", "2");
        await(&b, "b", "2");
        make_dir(&b, "two/three");
        put_file(&b, "two/three/c.yaml", "c 1\n");
        assert_int_equal(unlink(at(&b, "one/a.yaml")), 0);
        await(&b, "c", "1");
        await(&b, "a", "none");
        run_for(&b, CHECK_EVERY + 300 * USEC_PER_MS); /* what was fresh is read twice */
        size_t read_n = directory_read_n(b.d);
        run_for(&b, 2 * CHECK_EVERY + 300 * USEC_PER_MS);
        assert_int_equal(directory_read_n(b.d), read_n); /* nothing changed, nothing is read */
        assert_int_equal(b.diags, 1);
        bench_fini(&b);
    }
}

static void lost_notices_lead_to_a_full_look(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    put_file(&b, "a.yaml", "a 1\n");
    start(&b);
    for (int i = 0; i < 6000; i++) { /* three notices each: more than the queue takes */
        char name[32];
        snprintf(name, sizeof(name), "n%d", i);
        put_file(&b, name, "");
        assert_int_equal(unlink(at(&b, name)), 0);
    }
    put_file(&b, "a.yaml", "a 2\n");
    put_file(&b, "b.yaml", "b 1\n");
    await(&b, "a", "2");
    await(&b, "b", "1");
    bench_fini(&b);
}

/* ---- much at once ---- */

static enum err parse_slowly(struct str file_name, struct str content, manifest_object_fn *give,
                             diag_fn *tell, void *arg)
{
    usleep(5000);
    return parse(file_name, content, give, tell, arg);
}

/* More than a second of work: other work of the loop is not held up, results come in between. */
static void a_flood_is_taken_in_parts(void **state)
{
    (void)state;
    enum { FILES = 300 };
    struct bench b;
    bench_init(&b);
    start(&b);
    directory_close(b.d);
    b.options.parse = parse_slowly;
    start(&b);
    for (int i = 0; i < FILES; i++) {
        char name[32], content[32];
        snprintf(name, sizeof(name), "f%d.yaml", i);
        snprintf(content, sizeof(content), "s%d 1\n", i);
        put_file(&b, name, content);
    }
    usec_t longest = 0;
    while (store_n(b.store, OBJECT_SERVICE) < FILES) {
        usec_t begin = clock_monotonic();
        step(&b);
        usec_t took = clock_monotonic() - begin;
        longest = took > longest ? took : longest;
    }
    assert_true(longest < FILES * 5 * USEC_PER_MS / 2);
    assert_true(b.batches >= 1 && b.batches < 20);
    bench_fini(&b);
}

/* ---- failing allocations ---- */

static void opening_without_memory(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    make_dir(&b, "sub");
    put_file(&b, "a.yaml", "a 1\n?\n");
    put_file(&b, "b.yaml", "a 1\nb 1\n");
    put_file(&b, "sub/c.yaml", "c 1\n");
    enum err error = E_NOMEM;
    size_t nth = 1;
    for (; error != E_OK; nth++) {
        assert_true(nth < 500);
        assert_int_equal(error, E_NOMEM);
        assert_null(b.d);
        store_free(b.store);
        assert_int_equal(store_new(&b.store), E_OK);
        mem_fail_from(nth);
        error = try_open(&b, b.loop);
        mem_fail_from(0);
    }
    assert_true(nth > 20);
    assert_int_equal(store_n(b.store, OBJECT_SERVICE), 3);
    bench_fini(&b);
}

static void following_without_memory(void **state)
{
    (void)state;
    for (size_t nth = 1; nth < 16; nth++) {
        struct bench b;
        bench_init(&b);
        put_file(&b, "a.yaml", "a 1\n");
        put_file(&b, "b.yaml", "a 1\nb 1\n");
        start(&b);
        put_file(&b, "a.yaml", "a 2\nc 1\n");
        put_file(&b, "new.yaml", "d 1\n");
        mem_fail_from(nth);
        for (int i = 0; i < 3; i++) {
            (void)!loop_step(b.loop, 10 * USEC_PER_MS);
        }
        mem_fail_from(0);
        await(&b, "a", "2"); /* tried again by itself */
        await(&b, "c", "1");
        await(&b, "d", "1");
        assert_string_equal(value_of(&b, "b"), "1");
        assert_int_equal(b.dels, 0);
        bench_fini(&b);
    }
}

/* ---- size ---- */

/* Figures for people, not asserted: they depend on the machine. */
static void twenty_thousand_files(void **state)
{
    (void)state;
    enum { FILES = 20000 };
    struct bench b;
    bench_init(&b);
    for (int i = 0; i < FILES; i++) {
        char name[32], content[32];
        snprintf(name, sizeof(name), "f%d.yaml", i);
        snprintf(content, sizeof(content), "s%d 1\n", i);
        put_file(&b, name, content);
    }
    usec_t begin = clock_monotonic();
    start(&b);
    usec_t loaded = clock_monotonic();
    assert_int_equal(store_n(b.store, OBJECT_SERVICE), FILES);
    step(&b);
    usec_t before_cpu = clock_cpu(), before = clock_monotonic();
    replace_file(&b, "f12345.yaml", "s12345 2\n");
    await(&b, "s12345", "2");
    print_message("%d files: %.0f ms to load, a change: %.2f ms, %.2f ms of CPU\n", FILES,
                  (double)(loaded - begin) / 1000, (double)(clock_monotonic() - before) / 1000,
                  (double)(clock_cpu() - before_cpu) / 1000);
    bench_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loads_what_counts),
        cmocka_unit_test(single_files_of_any_name),
        cmocka_unit_test(paths_that_are_not_there),
        cmocka_unit_test(follows_every_way_to_write),
        cmocka_unit_test(a_change_reads_one_file),
        cmocka_unit_test(an_object_leaves_a_clean_file),
        cmocka_unit_test(the_last_good_state_stays),
        cmocka_unit_test(a_file_becomes_unreadable),
        cmocka_unit_test(permissions),
        cmocka_unit_test(a_slow_writer),
        cmocka_unit_test(a_slow_writer_while_polling),
        cmocka_unit_test(no_gap_when_a_file_is_rewritten_or_moved),
        cmocka_unit_test(directories_come_move_and_go),
        cmocka_unit_test(configmap_swap),
        cmocka_unit_test(links_that_lead_back),
        cmocka_unit_test(depth_limit),
        cmocka_unit_test(root_goes_and_comes_back),
        cmocka_unit_test(root_is_a_link_that_is_swapped),
        cmocka_unit_test(first_by_path_wins_in_any_order),
        cmocka_unit_test(three_places_and_a_broken_heir),
        cmocka_unit_test(twice_in_one_file),
        cmocka_unit_test(file_size_limit),
        cmocka_unit_test(file_count_limit),
        cmocka_unit_test(polling_when_out_of_watches),
        cmocka_unit_test(lost_notices_lead_to_a_full_look),
        cmocka_unit_test(a_flood_is_taken_in_parts),
        cmocka_unit_test(opening_without_memory),
        cmocka_unit_test(following_without_memory),
        cmocka_unit_test(twenty_thousand_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
