/* The reflector: which call comes next, and what its end means.
 *
 * Each step is a call with a reader for its body. Every failure goes through reflector_fail(),
 * which waits; what does not wait is either charged to the client's budget (pages, checks, fetches)
 * or follows a watch that lasted KUBE_WATCH_SHORT at least. So there is no busy loop, whatever a
 * server does.
 *
 * One object by name: its own resourceVersion may be too old to watch from, as nothing has to have
 * happened to it for a year. So the watch begins without one: the server tells the object, if it is
 * there, as an ADDED event, and then what changes. That it is not there is told by a GET that is
 * sent when the watch stands, and that counts only if the watch has told nothing until it is
 * answered: whatever happened in between is in the watch.
 *
 * Source: Kubernetes API concepts, "Efficient detection of changes", "Resource versions". */
#include "kube/reflector.h"

#include <sys/random.h>

#include "base/hash.h"
#include "base/mem.h"
#include "kube/reflector_priv.h"

enum { TEXT_BYTES_MAX = 16 * 1024 };

/* ---- small things ---- */

bool reflector_has_name(const struct kube_reflector *r)
{
    return r->name.n > 0;
}

static struct str version_get(const struct kube_reflector *r)
{
    return (struct str){r->version, r->version_n};
}

/* readers let no longer one through */
static void version_set(struct kube_reflector *r, struct str version)
{
    must(version.n <= sizeof(r->version));
    mem_copy(r->version, version.p, version.n);
    r->version_n = version.n;
}

/* Versions are numbers that grow; if a server has other ones, they are taken as they come. */
static bool is_behind(struct str version, struct str other)
{
    uint64_t a, b;
    return str_to_u64(version, UINT64_MAX, &a) && str_to_u64(other, UINT64_MAX, &b) && a < b;
}

/* Good enough to spread out clients. */
usec_t reflector_random(struct kube_reflector *r, usec_t min, usec_t max)
{
    r->random = hash_bytes(&r->random, sizeof(r->random));
    return min + r->random % (max - min + 1);
}

static void enter(struct kube_reflector *r)
{
    r->is_busy = true;
}

static void reflector_free(struct kube_reflector *r)
{
    kube_reader_free(r->reader);
    kube_reader_free(r->fetch_reader);
    buf_fini(&r->next);
    arena_fini(&r->memory);
    mem_free(r);
}

/* The last thing that a callback does. */
static void leave(struct kube_reflector *r)
{
    r->is_busy = false;
    if (r->is_closed) {
        reflector_free(r);
    }
}

void reflector_stop_calls(struct kube_reflector *r)
{
    kube_call_cancel(r->call);
    kube_call_cancel(r->fetch);
    r->call = r->fetch = NULL;
}

/* ---- telling ---- */

static void on_batch(struct deferred *d)
{
    struct kube_reflector *r = container_of(d, struct kube_reflector, batch);
    enter(r);
    r->events->on_batch(r->arg);
    leave(r);
}

static void tell(struct kube_reflector *r, void (*fn)(void *arg))
{
    loop_defer(r->loop, &r->batch, on_batch);
    fn(r->arg);
}

static enum err tell_object(struct kube_reflector *r,
                            void (*fn)(void *arg, const struct tree_node *object),
                            const struct tree_node *object)
{
    loop_defer(r->loop, &r->batch, on_batch);
    fn(r->arg, object);
    return r->is_closed ? E_CLOSED : E_OK;
}

/* ---- making calls ---- */

struct way {
    enum kube_body body;
    kube_entry_fn *on_entry;
    const struct kube_call_events *events;
    bool is_stream;
};

static enum err call_url(struct kube_reflector *r, const struct way *way, const struct buf *url,
                         struct kube_reader **reader, struct kube_call **call)
{
    kube_reader_free(*reader);
    *reader = NULL;
    if (url->bad) {
        return E_NOMEM;
    }
    TRY(kube_reader_new(way->body, way->on_entry, r, reader));
    return kube_call_start(r->client,
                           &(struct kube_request){.path = buf_str(url),
                                                  .is_stream = way->is_stream,
                                                  .timeout = way->is_stream ? r->silence : 0},
                           way->events, r, call);
}

/* Feeds a reader. E_CLOSED: an entry has seen to what comes next, or the owner closed us. */
static void feed(struct kube_reflector *r, struct kube_reader *reader, const char *verb,
                 struct str piece)
{
    enter(r);
    enum err e = kube_reader_feed(reader, piece);
    if (e != E_OK && e != E_CLOSED) {
        reflector_fail_read(r, verb, e);
    }
    leave(r);
}

/* ---- listing ---- */

static void list_page(struct kube_reflector *r);

static void watch(struct kube_reflector *r);

static void listed(struct kube_reflector *r)
{
    r->is_synced = true;
    r->is_unpaged = false;
    r->is_token_new = false;
    r->lost_at = 0;
    tell(r, r->events->on_listed);
    if (!r->is_closed) {
        reflector_tell_well(r);
    }
}

static enum err on_page_entry(void *arg, const struct kube_entry *entry)
{
    struct kube_reflector *r = arg;
    if (entry->kind == KUBE_ENTRY_OBJECT) {
        return tell_object(r, r->events->on_object, entry->object);
    }
    if (entry->next.n > 0 && str_eq(entry->next, buf_str(&r->next))) {
        return E_PROTO; /* it would never end */
    }
    version_set(r, entry->version);
    buf_reset(&r->next);
    buf_add_str(&r->next, entry->next);
    return r->next.bad ? E_NOMEM : E_OK;
}

static void on_page_data(void *arg, struct str piece)
{
    struct kube_reflector *r = arg;
    feed(r, r->reader, "list", piece);
}

static void page_done(struct kube_reflector *r, const struct kube_result *result)
{
    if (!kube_result_is_ok(result)) {
        r->is_unpaged |= result->status == 410;
        reflector_fail_by(r, "list", STEP_LIST, result);
        return;
    }
    enum err e = kube_reader_end(r->reader);
    if (e != E_OK) {
        reflector_fail_read(r, "list", e);
        return;
    }
    if (r->next.n > 0) {
        list_page(r);
        return;
    }
    listed(r);
    if (!r->is_closed) {
        r->step = STEP_WATCH;
        watch(r);
    }
}

static void on_page_done(void *arg, const struct kube_result *result)
{
    struct kube_reflector *r = arg;
    enter(r);
    r->call = NULL;
    page_done(r, result);
    leave(r);
}

static void list_page(struct kube_reflector *r)
{
    static const struct kube_call_events events = {.on_data = on_page_data,
                                                   .on_done = on_page_done};
    static const struct way way = {KUBE_BODY_LIST, on_page_entry, &events, false};
    struct buf url;
    reflector_url_page(r, &url);
    enum err e = call_url(r, &way, &url, &r->reader, &r->call);
    buf_fini(&url);
    if (e != E_OK) {
        reflector_fail_read(r, "list", e);
    }
}

static void list_all(struct kube_reflector *r)
{
    r->counters.lists++;
    r->version_n = 0;
    buf_reset(&r->next);
    tell(r, r->events->on_list);
    if (!r->is_closed) {
        list_page(r);
    }
}

/* ---- checking ---- */

static enum err on_check_entry(void *arg, const struct kube_entry *entry)
{
    struct kube_reflector *r = arg;
    if (entry->kind != KUBE_ENTRY_PAGE || !is_behind(entry->version, version_get(r))) {
        return E_OK;
    }
    r->counters.relists_back++;
    reflector_fail_with(r, "watch", STEP_LIST, STR("the API server went back to an older state"));
    return E_CLOSED;
}

static void on_check_data(void *arg, struct str piece)
{
    struct kube_reflector *r = arg;
    feed(r, r->reader, "list", piece);
}

static void check_done(struct kube_reflector *r, const struct kube_result *result)
{
    if (!kube_result_is_ok(result)) {
        /* A server that does not even answer was away. It may come back with an older state, whose
         * version its own start has pushed past ours. */
        reflector_fail_by(r, "list", result->status == 0 ? STEP_LIST : STEP_CHECK, result);
        return;
    }
    enum err e = kube_reader_end(r->reader);
    if (e != E_OK) {
        reflector_fail_read(r, "list", e);
        return;
    }
    r->step = STEP_WATCH;
    watch(r);
}

static void on_check_done(void *arg, const struct kube_result *result)
{
    struct kube_reflector *r = arg;
    enter(r);
    r->call = NULL;
    check_done(r, result);
    leave(r);
}

static void check(struct kube_reflector *r)
{
    static const struct kube_call_events events = {.on_data = on_check_data,
                                                   .on_done = on_check_done};
    static const struct way way = {KUBE_BODY_LIST, on_check_entry, &events, false};
    struct buf url;
    r->counters.checks++;
    reflector_url_check(r, &url);
    enum err e = call_url(r, &way, &url, &r->reader, &r->call);
    buf_fini(&url);
    if (e != E_OK) {
        reflector_fail_read(r, "list", e);
    }
}

/* ---- fetching the object by name ---- */

static enum err on_fetch_entry(void *arg, const struct kube_entry *entry)
{
    struct kube_reflector *r = arg;
    return r->has_told ? E_OK : tell_object(r, r->events->on_object, entry->object);
}

static void on_fetch_data(void *arg, struct str piece)
{
    struct kube_reflector *r = arg;
    feed(r, r->fetch_reader, "get", piece);
}

static void fetch_done(struct kube_reflector *r, const struct kube_result *result)
{
    bool is_missing =
        result->error == E_OK && result->status == 404 && str_eq(result->reason, STR("NotFound"));
    if (!is_missing && !kube_result_is_ok(result)) {
        reflector_fail_by(r, "get", STEP_LIST, result);
        return;
    }
    enum err e = is_missing ? E_OK : kube_reader_end(r->fetch_reader);
    if (e != E_OK) {
        reflector_fail_read(r, "get", e);
        return;
    }
    r->step = STEP_WATCH;
    listed(r);
}

static void on_fetch_done(void *arg, const struct kube_result *result)
{
    struct kube_reflector *r = arg;
    enter(r);
    r->fetch = NULL;
    fetch_done(r, result);
    leave(r);
}

static void fetch(struct kube_reflector *r)
{
    static const struct kube_call_events events = {.on_data = on_fetch_data,
                                                   .on_done = on_fetch_done};
    static const struct way way = {KUBE_BODY_OBJECT, on_fetch_entry, &events, false};
    struct buf url;
    reflector_url_fetch(r, &url);
    enum err e = call_url(r, &way, &url, &r->fetch_reader, &r->fetch);
    buf_fini(&url);
    if (e != E_OK) {
        reflector_fail_read(r, "get", e);
    }
}

/* ---- watching ---- */

static enum err watch_is_over(struct kube_reflector *r, const struct kube_status *s)
{
    struct kube_result result = {.status = s->code,
                                 .retry_after = s->retry_after,
                                 .reason = s->reason,
                                 .message = s->message};
    if (!reflector_is_expired(s->code, s->reason)) {
        result.reason = STR("Gone"); /* whatever it was: all is listed anew */
    }
    r->is_token_new = true; /* an event is no answer: not tried at once */
    reflector_fail_by(r, "watch", STEP_LIST, &result);
    return E_CLOSED;
}

static enum err on_watch_entry(void *arg, const struct kube_entry *entry)
{
    struct kube_reflector *r = arg;
    if (entry->kind == KUBE_ENTRY_ERROR) {
        return watch_is_over(r, &entry->status);
    }
    if (is_behind(entry->version, version_get(r))) {
        r->counters.relists_back++;
        reflector_fail_with(r, "watch", STEP_LIST,
                            STR("the API server went back to an older state"));
        return E_CLOSED;
    }
    version_set(r, entry->version);
    if (entry->kind == KUBE_ENTRY_BOOKMARK) {
        return E_OK;
    }
    r->has_told = true;
    r->counters.events++;
    return tell_object(r,
                       entry->kind == KUBE_ENTRY_GONE ? r->events->on_gone : r->events->on_object,
                       entry->object);
}

static void on_watch_open(void *arg)
{
    struct kube_reflector *r = arg;
    enter(r);
    r->opened_at = loop_now(r->loop);
    r->is_token_new = false;
    if (r->step == STEP_LIST) { /* by name */
        tell(r, r->events->on_list);
        if (!r->is_closed) {
            fetch(r);
        }
    } else {
        r->lost_at = 0;
        reflector_tell_well(r);
    }
    leave(r);
}

static void on_watch_data(void *arg, struct str piece)
{
    struct kube_reflector *r = arg;
    feed(r, r->reader, "watch", piece);
}

/* The server ended it in good order. */
static void watch_ended(struct kube_reflector *r)
{
    usec_t lasted = loop_now(r->loop) - r->opened_at;
    bool is_early = lasted + 2 * USEC_PER_SEC < r->asked_for; /* a server that goes down */
    if (lasted < KUBE_WATCH_SHORT || r->step == STEP_LIST) {
        reflector_fail_with(r, "watch", r->step, STR("the API server ends it at once"));
        return;
    }
    r->step = !is_early ? STEP_WATCH : reflector_has_name(r) ? STEP_LIST : STEP_CHECK;
    reflector_begin(r);
}

static void watch_done(struct kube_reflector *r, const struct kube_result *result)
{
    bool is_ok = kube_result_is_ok(result);
    if (r->opened_at > 0 && loop_now(r->loop) - r->opened_at >= KUBE_STABLE) {
        r->failures = 0;
    }
    if (!is_ok) {
        reflector_fail_by(r, "watch", r->step, result);
    } else if (kube_reader_end(r->reader) != E_OK) {
        reflector_fail_with(r, "watch", r->step, STR("it was cut in the middle of an event"));
    } else {
        watch_ended(r);
    }
}

static void on_watch_done(void *arg, const struct kube_result *result)
{
    struct kube_reflector *r = arg;
    enter(r);
    r->call = NULL;
    watch_done(r, result);
    leave(r);
}

static void watch(struct kube_reflector *r)
{
    static const struct kube_call_events events = {
        .on_open = on_watch_open, .on_data = on_watch_data, .on_done = on_watch_done};
    static const struct way way = {KUBE_BODY_WATCH, on_watch_entry, &events, true};
    struct buf url;
    r->counters.watches++;
    r->has_told = false;
    r->opened_at = 0;
    r->asked_for = reflector_random(r, KUBE_WATCH_MIN, KUBE_WATCH_MAX);
    reflector_url_watch(r, &url);
    enum err e = call_url(r, &way, &url, &r->reader, &r->call);
    buf_fini(&url);
    if (e != E_OK) {
        reflector_fail_read(r, "watch", e);
    }
}

/* ---- which comes next ---- */

/* A watch may go on where it was only if the server has not been away for long, which is when it
 * may come back as another one. An object by name has no version to compare. */
static bool may_resume(const struct kube_reflector *r)
{
    usec_t away = r->lost_at > 0 ? loop_now(r->loop) - r->lost_at : 0;
    return !reflector_has_name(r) && r->version_n > 0 && away < TIMEOUT_KUBE_AWAY;
}

void reflector_begin(struct kube_reflector *r)
{
    if (r->lost_at > 0 && r->step != STEP_LIST) {
        r->step = may_resume(r) ? STEP_CHECK : STEP_LIST;
    }
    switch (r->step) {
    case STEP_LIST:
        if (reflector_has_name(r)) {
            r->counters.lists++;
            r->version_n = 0;
            watch(r);
        } else {
            list_all(r);
        }
        return;
    case STEP_CHECK:
        check(r);
        return;
    case STEP_WATCH:
        watch(r);
        return;
    }
}

void reflector_on_wait_over(struct timer *t)
{
    struct kube_reflector *r = container_of(t, struct kube_reflector, timer);
    enter(r);
    reflector_begin(r);
    leave(r);
}

static bool copy_options(struct kube_reflector *r, const struct kube_reflector_options *o)
{
    return arena_str(&r->memory, o->path, &r->path) &&
           arena_str(&r->memory, o->label_selector, &r->label_selector) &&
           arena_str(&r->memory, o->field_selector, &r->field_selector) &&
           arena_str(&r->memory, o->name, &r->name);
}

enum err kube_reflector_open(const struct kube_reflector_options *options,
                             struct kube_reflector **ret)
{
    struct kube_reflector *r = mem_calloc(1, sizeof(*r));
    if (r == NULL) {
        return E_NOMEM;
    }
    r->client = options->client;
    r->loop = kube_client_loop(options->client);
    r->events = options->events;
    r->arg = options->arg;
    r->page_n = options->page_n > 0 ? options->page_n : KUBE_PAGE_N;
    r->silence = options->silence;
    arena_init(&r->memory, TEXT_BYTES_MAX);
    buf_init(&r->next, KUBE_CONTINUE_BYTES_MAX);
    if (!copy_options(r, options)) {
        reflector_free(r);
        return E_NOMEM;
    }
    if (getrandom(&r->random, sizeof(r->random), GRND_NONBLOCK) < 0) {
        r->random = (uint64_t)(uintptr_t)r ^ clock_wall(); /* just after boot */
    }
    loop_arm(r->loop, &r->timer, 0, reflector_on_wait_over);
    *ret = r;
    return E_OK;
}

void kube_reflector_close(struct kube_reflector *r)
{
    if (r == NULL) {
        return;
    }
    r->is_closed = true;
    reflector_stop_calls(r);
    loop_disarm(r->loop, &r->timer);
    loop_undefer(&r->batch);
    if (!r->is_busy) {
        reflector_free(r);
    }
}

bool kube_reflector_is_synced(const struct kube_reflector *r)
{
    return r->is_synced;
}

bool kube_reflector_is_healthy(const struct kube_reflector *r)
{
    return r->is_synced && !r->is_unwell;
}

uint32_t kube_reflector_status(const struct kube_reflector *r)
{
    return r->status;
}

const struct kube_reflector_counters *kube_reflector_counters(const struct kube_reflector *r)
{
    return &r->counters;
}
