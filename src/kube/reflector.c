/* The reflector: which call comes next, and what its end means.
 *
 * Each step is a call with a reader for its body. Every failure goes through fail(), which waits;
 * what does not wait is either charged to the client's budget (pages, checks, fetches) or follows a
 * watch that lasted KUBE_WATCH_SHORT at least. So there is no busy loop, whatever a server does.
 *
 * One object by name: its own resourceVersion may be too old to watch from, as nothing has to have
 * happened to it for a year. So the watch begins without one: the server tells the object, if it is
 * there, as an ADDED event, and then what changes. That it is not there is told by a GET that is
 * sent when the watch stands, and that counts only if the watch has told nothing until it is
 * answered: whatever happened in between is in the watch.
 *
 * Source: Kubernetes API concepts, "Efficient detection of changes", "Resource versions". */
#include "kube/reflector.h"

#include <string.h>
#include <sys/random.h>

#include "base/buf.h"
#include "base/hash.h"
#include "base/limits.h"
#include "base/mem.h"
#include "kube/reader.h"

enum { URL_BYTES_MAX = 64 * 1024, TEXT_BYTES_MAX = 16 * 1024, WHY_BYTES_MAX = 1024 };

enum step {
    STEP_LIST,
    STEP_CHECK, /* is the server's version not behind ours? */
    STEP_WATCH,
};

struct kube_reflector {
    struct kube_client *client;
    struct loop *loop;
    const struct kube_reflector_events *events;
    void *arg;
    struct arena memory;
    struct str path, label_selector, field_selector, name;
    uint32_t page_n;
    usec_t silence;

    enum step step;
    struct kube_call *call; /* of the step; NULL: waiting */
    struct kube_reader *reader;
    struct kube_call *fetch; /* GET of the object by name, beside its watch */
    struct kube_reader *fetch_reader;
    struct timer timer;
    struct deferred batch;

    char version[KUBE_VERSION_BYTES_MAX]; /* that we are at */
    size_t version_n;                     /* 0: none */
    struct buf next;                      /* token to continue the list with */
    bool is_unpaged;                      /* a token expired: the whole list at once */
    bool is_token_new;                    /* a 401 was answered with another try */
    bool has_told;   /* something about the object by name since its watch stands */
    uint32_t status; /* of the last failure; 0: none, or it works */
    bool is_synced;
    bool is_unwell; /* and the owner was told so */
    uint64_t why;   /* hash of what it was told */
    bool is_busy;   /* in a callback, which sees to freeing */
    bool is_closed;
    unsigned failures;           /* in a row */
    usec_t opened_at, asked_for; /* of the watch */
    usec_t lost_at;              /* 0: not lost */
    uint64_t random;
    struct kube_reflector_counters counters;
};

static void begin(struct kube_reflector *r);

/* ---- small things ---- */

static bool has_name(const struct kube_reflector *r)
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
static usec_t random_between(struct kube_reflector *r, usec_t min, usec_t max)
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

static void stop_calls(struct kube_reflector *r)
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

static void tell_well(struct kube_reflector *r)
{
    r->status = 0;
    if (r->is_unwell) {
        r->is_unwell = false;
        r->events->on_health(r->arg, true, STR_EMPTY);
    }
}

/* Not for a watch that was cut once; at once for what trying again will not mend. The same reason
 * is told once. */
static void tell_unwell(struct kube_reflector *r, struct str why, bool is_lasting)
{
    uint64_t hash = hash_str(why);
    bool is_serious = is_lasting || !r->is_synced || r->failures > 1;
    if (is_serious && (!r->is_unwell || hash != r->why)) {
        r->is_unwell = true;
        r->why = hash;
        r->events->on_health(r->arg, false, why);
    }
}

/* ---- what went wrong ---- */

struct trouble {
    const char *verb;
    enum step step;     /* to go on with */
    bool is_lasting;    /* people have to do something */
    usec_t retry_after; /* 0: the back-off alone */
    uint32_t status;
    struct str text;
};

/* "cannot watch services (403): ...; ..." */
static void write_why(const struct kube_reflector *r, const struct trouble *t, struct buf *why)
{
    size_t slash = r->path.n;
    while (slash > 0 && r->path.p[slash - 1] != '/') {
        slash--;
    }
    struct str resource = str_from(r->path, slash);
    buf_addf(why, "cannot %s %.*s", t->verb, STR_ARG(resource));
    if (has_name(r)) {
        buf_addf(why, " %.*s", STR_ARG(r->name));
    }
    if (t->status > 0) {
        buf_addf(why, " (%u)", t->status);
    }
    buf_addf(why, ": %.*s", STR_ARG(str_first(t->text, WHY_BYTES_MAX / 2)));
    if (t->status == 401) {
        buf_addf(why, "; the API server does not accept the token or certificate");
    } else if (t->status == 403) {
        buf_addf(why, "; RBAC must allow the verb %s on %.*s", t->verb, STR_ARG(resource));
    } else if (t->status == 404) {
        buf_addf(why, "; the API server does not serve %.*s", STR_ARG(r->path));
    }
}

static usec_t backoff(struct kube_reflector *r)
{
    unsigned doublings = r->failures < 16 ? r->failures : 16;
    usec_t most = KUBE_BACKOFF_MIN << doublings;
    most = most < KUBE_BACKOFF_MAX ? most : KUBE_BACKOFF_MAX;
    return random_between(r, KUBE_BACKOFF_MIN / 4, most);
}

static void on_wait_over(struct timer *t)
{
    struct kube_reflector *r = container_of(t, struct kube_reflector, timer);
    enter(r);
    begin(r);
    leave(r);
}

/* Forgets what was under way and tries again later. */
static void fail(struct kube_reflector *r, const struct trouble *t)
{
    struct buf why;
    usec_t now = loop_now(r->loop);
    stop_calls(r);
    r->step = t->step;
    r->counters.failures++;
    r->lost_at = r->lost_at > 0 ? r->lost_at : now;
    usec_t wished = t->retry_after < KUBE_RETRY_AFTER_MAX ? t->retry_after : KUBE_RETRY_AFTER_MAX;
    loop_arm(r->loop, &r->timer, wished + backoff(r), on_wait_over);
    r->failures++;
    buf_init(&why, 2 * WHY_BYTES_MAX);
    write_why(r, t, &why);
    r->status = t->status;
    tell_unwell(r, buf_str(&why), t->is_lasting);
    buf_fini(&why);
}

static void fail_with(struct kube_reflector *r, const char *verb, enum step step, struct str text)
{
    fail(r, &(struct trouble){.verb = verb, .step = step, .text = text});
}

static bool is_expired(uint32_t status, struct str reason)
{
    return status == 410 || str_eq(reason, STR("Expired")) || str_eq(reason, STR("Gone")) ||
           str_eq(reason, STR("ResourceVersionTooLarge"));
}

/* A call ended otherwise than it should. */
static void fail_by(struct kube_reflector *r, const char *verb, enum step step,
                    const struct kube_result *result)
{
    if (result->status == 401 && !r->is_token_new) { /* the client reads the token file again */
        r->is_token_new = true;
        stop_calls(r);
        begin(r);
        return;
    }
    bool has_expired = is_expired(result->status, result->reason);
    r->counters.relists_expired += has_expired;
    fail(r, &(struct trouble){
                .verb = verb,
                .step = has_expired ? STEP_LIST : step,
                .is_lasting = result->error == E_REFUSED || result->status == 401 ||
                              result->status == 403 || result->status == 404,
                .retry_after = result->retry_after,
                .status = result->status,
                .text = result->message,
            });
}

/* What came was not what an API server writes, or the entry told that it is over. */
static void fail_read(struct kube_reflector *r, const char *verb, enum err e)
{
    r->counters.oversized += e == E_LIMIT;
    fail_with(r, verb, STEP_LIST,
              e == E_PROTO   ? STR("the answer is not what the API should give")
              : e == E_LIMIT ? STR("an object is too large")
                             : str_from_cstr(err_text(e)));
}

/* ---- making calls ---- */

static void add_escaped(struct buf *b, struct str s)
{
    static const char hex[] = "0123456789ABCDEF";
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        bool is_letter = (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
        if (is_letter || (c >= '0' && c <= '9') || strchr("-._~", c) != NULL) {
            buf_add_char(b, (char)c); /* RFC 3986 section 2.3; no NUL can be in s */
        } else {
            buf_add_char(b, '%');
            buf_add_char(b, hex[c >> 4]);
            buf_add_char(b, hex[c & 15]);
        }
    }
}

static void add_parameter(struct buf *b, const char *name, struct str value)
{
    if (value.n > 0) {
        buf_addf(b, "%c%s=", str_find(buf_str(b), '?') == b->n ? '?' : '&', name);
        add_escaped(b, value);
    }
}

static void add_number(struct buf *b, const char *name, uint64_t value)
{
    char text[24];
    struct wr w = wr_make(text, sizeof(text));
    wr_u64(&w, value);
    add_parameter(b, name, (struct str){text, wr_n(&w)});
}

static void add_selectors(const struct kube_reflector *r, struct buf *url)
{
    struct buf field;
    buf_init(&field, TEXT_BYTES_MAX);
    buf_add_str(&field, r->field_selector);
    if (has_name(r)) {
        buf_addf(&field, "%smetadata.name=%.*s", field.n > 0 ? "," : "", STR_ARG(r->name));
    }
    add_parameter(url, "labelSelector", r->label_selector);
    add_parameter(url, "fieldSelector", buf_str(&field));
    url->bad |= field.bad;
    buf_fini(&field);
}

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
        fail_read(r, verb, e);
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
        tell_well(r);
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
        fail_by(r, "list", STEP_LIST, result);
        return;
    }
    enum err e = kube_reader_end(r->reader);
    if (e != E_OK) {
        fail_read(r, "list", e);
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
    buf_init(&url, URL_BYTES_MAX);
    buf_add_str(&url, r->path);
    add_number(&url, "limit", r->page_n);
    if (r->is_unpaged) {
        url.n = r->path.n;
    }
    add_parameter(&url, "continue", buf_str(&r->next));
    add_selectors(r, &url);
    enum err e = call_url(r, &way, &url, &r->reader, &r->call);
    buf_fini(&url);
    if (e != E_OK) {
        fail_read(r, "list", e);
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
    fail_with(r, "watch", STEP_LIST, STR("the API server went back to an older state"));
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
        fail_by(r, "list", STEP_CHECK, result);
        return;
    }
    enum err e = kube_reader_end(r->reader);
    if (e != E_OK) {
        fail_read(r, "list", e);
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
    buf_init(&url, URL_BYTES_MAX);
    buf_add_str(&url, r->path);
    add_number(&url, "limit", 1);
    add_selectors(r, &url);
    enum err e = call_url(r, &way, &url, &r->reader, &r->call);
    buf_fini(&url);
    if (e != E_OK) {
        fail_read(r, "list", e);
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
        fail_by(r, "get", STEP_LIST, result);
        return;
    }
    enum err e = is_missing ? E_OK : kube_reader_end(r->fetch_reader);
    if (e != E_OK) {
        fail_read(r, "get", e);
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
    buf_init(&url, URL_BYTES_MAX);
    buf_add_str(&url, r->path);
    buf_add_char(&url, '/');
    add_escaped(&url, r->name);
    enum err e = call_url(r, &way, &url, &r->fetch_reader, &r->fetch);
    buf_fini(&url);
    if (e != E_OK) {
        fail_read(r, "get", e);
    }
}

/* ---- watching ---- */

static enum err watch_is_over(struct kube_reflector *r, const struct kube_status *s)
{
    struct kube_result result = {.status = s->code,
                                 .retry_after = s->retry_after,
                                 .reason = s->reason,
                                 .message = s->message};
    if (!is_expired(s->code, s->reason)) {
        result.reason = STR("Gone"); /* whatever it was: all is listed anew */
    }
    r->is_token_new = true; /* an event is no answer: not tried at once */
    fail_by(r, "watch", STEP_LIST, &result);
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
        fail_with(r, "watch", STEP_LIST, STR("the API server went back to an older state"));
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
        tell_well(r);
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
        fail_with(r, "watch", r->step, STR("the API server ends it at once"));
        return;
    }
    r->step = !is_early ? STEP_WATCH : has_name(r) ? STEP_LIST : STEP_CHECK;
    begin(r);
}

static void watch_done(struct kube_reflector *r, const struct kube_result *result)
{
    bool is_ok = kube_result_is_ok(result);
    if (r->opened_at > 0 && loop_now(r->loop) - r->opened_at >= KUBE_STABLE) {
        r->failures = 0;
    }
    if (!is_ok) {
        fail_by(r, "watch", r->step, result);
    } else if (kube_reader_end(r->reader) != E_OK) {
        fail_with(r, "watch", r->step, STR("it was cut in the middle of an event"));
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
    r->asked_for = random_between(r, KUBE_WATCH_MIN, KUBE_WATCH_MAX);
    buf_init(&url, URL_BYTES_MAX);
    buf_add_str(&url, r->path);
    add_parameter(&url, "watch", STR("true"));
    add_parameter(&url, "allowWatchBookmarks", STR("true"));
    add_number(&url, "timeoutSeconds", r->asked_for / USEC_PER_SEC);
    add_parameter(&url, "resourceVersion", version_get(r));
    add_selectors(r, &url);
    enum err e = call_url(r, &way, &url, &r->reader, &r->call);
    buf_fini(&url);
    if (e != E_OK) {
        fail_read(r, "watch", e);
    }
}

/* ---- which comes next ---- */

/* A watch may go on where it was only if the server has not been away for long, which is when it
 * may come back as another one. An object by name has no version to compare. */
static bool may_resume(const struct kube_reflector *r)
{
    usec_t away = r->lost_at > 0 ? loop_now(r->loop) - r->lost_at : 0;
    return !has_name(r) && r->version_n > 0 && away < TIMEOUT_KUBE_AWAY;
}

static void begin(struct kube_reflector *r)
{
    if (r->lost_at > 0 && r->step != STEP_LIST) {
        r->step = may_resume(r) ? STEP_CHECK : STEP_LIST;
    }
    switch (r->step) {
    case STEP_LIST:
        if (has_name(r)) {
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
    loop_arm(r->loop, &r->timer, 0, on_wait_over);
    *ret = r;
    return E_OK;
}

void kube_reflector_close(struct kube_reflector *r)
{
    if (r == NULL) {
        return;
    }
    r->is_closed = true;
    stop_calls(r);
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
