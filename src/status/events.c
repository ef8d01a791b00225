/* A table of what was told lately, and a line of what is to be written. */
#include "status/events.h"

#include "base/hash.h"
#include "base/limits.h"
#include "base/mem.h"
#include "document/json_write.h"
#include "log/log.h"
#include "status/text.h"

enum {
    NAME_BYTES_MAX = 253,
    INSTANCE_BYTES_MAX = 128,
    HASH_DIGITS = 16,
    TEXTS_N = 7,
    STATUS_FORBIDDEN = 403,
    STATUS_NOT_FOUND = 404,
    STATUS_CONFLICT = 409
};

/* The texts of an Event, in the order in which struct known keeps them. */
struct event {
    struct str kind, namespace_name, name, uid, reason, action, note;
    bool is_warning;
};

struct known {
    struct line_job job;
    uint64_t hash;
    struct event event;   /* in text */
    uint64_t count, sent; /* how often it was told; what the API server knows of that */
    bool is_there;        /* the API server has it */
    usec_t seen_at, sent_at;
    char text[];
};

struct events {
    struct events_options options;
    bool is_on, has_complained;
    struct map known;
    struct line line;
    struct timer repeat, sweep;
    struct buf note;              /* scratch */
    usec_t spent[EVENTS_OBJECTS]; /* until when the budget of these objects is used up */
    usec_t spent_all;
    struct events_counters counters;
};

/* ---- budgets ---- */

/* Generic cell rate: each Event moves the time that a bucket is used up to by one period; a burst
 * may run ahead of now. */
static bool may_spend(usec_t spent, usec_t now, usec_t period, unsigned burst)
{
    return spent <= now || spent - now <= period * (burst - 1);
}

static void spend(usec_t *spent, usec_t now, usec_t period)
{
    *spent = (*spent > now ? *spent : now) + period;
}

static bool take_budget(struct events *e, const struct event *event)
{
    usec_t now = loop_now(e->options.loop);
    uint64_t hash = hash_str(event->name) ^ hash_str(event->namespace_name) * 31;
    usec_t *spent = &e->spent[hash % EVENTS_OBJECTS];
    if (!may_spend(*spent, now, EVENTS_OBJECT_PERIOD, EVENTS_OBJECT_BURST) ||
        !may_spend(e->spent_all, now, EVENTS_PERIOD, EVENTS_BURST)) {
        e->counters.dropped_budget++;
        return false;
    }
    spend(spent, now, EVENTS_OBJECT_PERIOD);
    spend(&e->spent_all, now, EVENTS_PERIOD);
    return true;
}

/* ---- the table ---- */

static void texts_of(struct event *event, struct str *ret[TEXTS_N])
{
    struct str *texts[TEXTS_N] = {&event->kind,   &event->namespace_name, &event->name, &event->uid,
                                  &event->reason, &event->action,         &event->note};
    for (size_t i = 0; i < TEXTS_N; i++) {
        ret[i] = texts[i];
    }
}

static uint64_t event_hash(struct event event)
{
    struct str *texts[TEXTS_N];
    uint64_t hash = 0;
    texts_of(&event, texts);
    for (size_t i = 0; i < TEXTS_N; i++) {
        hash = hash * 0x9e3779b97f4a7c15U + hash_str(*texts[i]);
    }
    return hash;
}

static bool known_eq(const void *value, const void *key)
{
    struct event a = ((const struct known *)value)->event, b = *(const struct event *)key;
    struct str *x[TEXTS_N], *y[TEXTS_N];
    bool is_equal = true;
    texts_of(&a, x);
    texts_of(&b, y);
    for (size_t i = 0; is_equal && i < TEXTS_N; i++) {
        is_equal = str_eq(*x[i], *y[i]);
    }
    return is_equal;
}

static struct known *known_new(struct event event, uint64_t hash)
{
    struct str *texts[TEXTS_N];
    size_t n = 0;
    texts_of(&event, texts);
    for (size_t i = 0; i < TEXTS_N; i++) {
        n += texts[i]->n;
    }
    struct known *k = mem_calloc(1, sizeof(*k) + n);
    if (k == NULL) {
        return NULL;
    }
    char *at = k->text;
    for (size_t i = 0; i < TEXTS_N; i++) {
        mem_copy(at, texts[i]->p, texts[i]->n);
        texts[i]->p = at;
        at += texts[i]->n;
    }
    k->hash = hash;
    k->event = event;
    return k;
}

static void known_drop(struct events *e, struct known *k)
{
    line_del(&k->job);
    must(map_del(&e->known, k->hash, k));
    mem_free(k);
}

/* ---- telling ---- */

static void tell_anew(struct events *e, const struct event *event, uint64_t hash)
{
    if (e->known.n >= EVENTS_KNOWN_MAX) {
        e->counters.dropped_table++;
        return;
    }
    if (!take_budget(e, event)) {
        return;
    }
    struct known *k = known_new(*event, hash);
    if (k == NULL || map_add(&e->known, hash, k) != E_OK) {
        mem_free(k);
        e->counters.dropped_memory++;
        return;
    }
    k->count = 1;
    k->seen_at = loop_now(e->options.loop);
    line_add(&e->line, &k->job);
}

static bool is_due(const struct events *e, const struct known *k)
{
    return k->count > k->sent && loop_now(e->options.loop) - k->sent_at >= EVENTS_SERIES;
}

static void tell_again(struct events *e, struct known *k)
{
    k->count++;
    k->seen_at = loop_now(e->options.loop);
    if (is_due(e, k) && !line_job_is_in(&k->job) && take_budget(e, &k->event)) {
        line_add(&e->line, &k->job);
    }
}

static void tell(struct events *e, const struct event *event)
{
    uint64_t hash = event_hash(*event);
    struct known *k = map_get(&e->known, hash, known_eq, event);
    if (k != NULL) {
        tell_again(e, k);
    } else {
        tell_anew(e, event, hash);
    }
}

/* ---- kinds ---- */

static const char *const api_versions[OBJECT_KINDS_N] = {
    [OBJECT_INGRESS] = "networking.k8s.io/v1",
    [OBJECT_INGRESS_CLASS] = "networking.k8s.io/v1",
    [OBJECT_SERVICE] = "v1",
    [OBJECT_ENDPOINT_SLICE] = "discovery.k8s.io/v1",
    [OBJECT_ENDPOINTS] = "v1",
    [OBJECT_SECRET] = "v1",
    [OBJECT_CONFIG_MAP] = "v1",
    [OBJECT_NAMESPACE] = "v1",
};

/* OBJECT_KINDS_N for what is no object of the API. */
static enum object_kind kind_of(struct str name)
{
    for (int kind = 0; kind < OBJECT_KINDS_N; kind++) {
        if (api_versions[kind] != NULL &&
            str_eq(name, str_from_cstr(object_kind_name((enum object_kind)kind)))) {
            return (enum object_kind)kind;
        }
    }
    return OBJECT_KINDS_N;
}

/* Without a part of a character at the end. */
static struct str cut_note(struct str note)
{
    size_t n = note.n;
    if (n > EVENT_NOTE_BYTES_MAX) {
        for (n = EVENT_NOTE_BYTES_MAX; n > 0 && ((unsigned char)note.p[n] & 0xc0) == 0x80; n--) {
        }
    }
    return str_first(note, n);
}

static void add_part(struct buf *out, struct str before, struct str part)
{
    if (part.n > 0) {
        buf_add_str(out, out->n == 0 ? STR_EMPTY : before);
        buf_add_str(out, part);
    }
}

void events_on_diag(void *events, const struct diag *d)
{
    struct events *e = events;
    enum object_kind kind = kind_of(d->kind);
    if (!e->is_on || kind == OBJECT_KINDS_N || d->name.n == 0) {
        return;
    }
    const struct object *o = store_get(e->options.store, kind, d->namespace_name, d->name);
    buf_reset(&e->note);
    add_part(&e->note, STR_EMPTY, d->field);
    add_part(&e->note, STR(": "), d->what);
    add_part(&e->note, STR(": "), d->why);
    add_part(&e->note, STR("; "), d->mend);
    tell(e, &(struct event){.kind = d->kind,
                            .namespace_name = d->namespace_name,
                            .name = d->name,
                            .uid = o != NULL ? o->uid : STR_EMPTY,
                            .reason = str_from_cstr(diag_reason_name(d->reason)),
                            .action = STR("Compile"),
                            .note = cut_note(buf_str(&e->note)),
                            .is_warning = true});
}

void events_tell(struct events *e, const struct object *o, bool is_warning, struct str reason,
                 struct str action, struct str note)
{
    if (e->is_on && api_versions[o->kind] != NULL) {
        tell(e, &(struct event){.kind = str_from_cstr(object_kind_name(o->kind)),
                                .namespace_name = o->namespace_name,
                                .name = o->name,
                                .uid = o->uid,
                                .reason = reason,
                                .action = action,
                                .note = cut_note(note),
                                .is_warning = is_warning});
    }
}

/* ---- writing ---- */

/* Events on objects without a namespace are in this one. */
static struct str home_of(const struct event *event)
{
    return event->namespace_name.n > 0 ? event->namespace_name : STR("default");
}

/* A long name would leave no room for the hash, and cut off it might end with a dot. */
static void add_name(struct buf *out, const struct known *k)
{
    bool is_long = k->event.name.n + 1 + HASH_DIGITS > NAME_BYTES_MAX;
    buf_add_str(out, is_long ? STR("lintel") : k->event.name);
    buf_addf(out, ".%0*llx", HASH_DIGITS, (unsigned long long)k->hash);
}

static void emit_text(struct json *j, const char *name, struct buf *text)
{
    json_name_str(j, name, buf_str(text));
    j->out->bad = j->out->bad || text->bad;
    buf_fini(text);
}

static void emit_now(struct json *j, const char *name)
{
    struct buf text;
    buf_init(&text, NAME_BYTES_MAX);
    text_add_micro_time(&text, clock_wall());
    emit_text(j, name, &text);
}

static void emit_metadata(struct json *j, const struct known *k)
{
    struct buf text;
    buf_init(&text, NAME_BYTES_MAX);
    add_name(&text, k);
    json_name(j, "metadata");
    json_object(j);
    emit_text(j, "name", &text);
    json_name_str(j, "namespace", home_of(&k->event));
    json_end_object(j);
}

static void emit_regarding(struct json *j, const struct event *event)
{
    json_name(j, "regarding");
    json_object(j);
    json_name_cstr(j, "apiVersion", api_versions[kind_of(event->kind)]);
    json_name_str(j, "kind", event->kind);
    json_name_str(j, "name", event->name);
    if (event->namespace_name.n > 0) {
        json_name_str(j, "namespace", event->namespace_name);
    }
    if (event->uid.n > 0) {
        json_name_str(j, "uid", event->uid);
    }
    json_end_object(j);
}

static void emit_event(const struct events *e, const struct known *k, struct buf *body)
{
    struct json j = json_make(body, false);
    json_object(&j);
    json_name_cstr(&j, "apiVersion", "events.k8s.io/v1");
    json_name_cstr(&j, "kind", "Event");
    emit_metadata(&j, k);
    emit_now(&j, "eventTime");
    json_name_str(&j, "reportingController", e->options.controller);
    json_name_str(&j, "reportingInstance", str_first(e->options.instance, INSTANCE_BYTES_MAX));
    json_name_str(&j, "action", k->event.action);
    json_name_str(&j, "reason", k->event.reason);
    emit_regarding(&j, &k->event);
    json_name_str(&j, "note", k->event.note);
    json_name_cstr(&j, "type", k->event.is_warning ? "Warning" : "Normal");
    json_end_object(&j);
}

static void emit_series(const struct known *k, struct buf *body)
{
    struct json j = json_make(body, false);
    json_object(&j);
    json_name(&j, "series");
    json_object(&j);
    json_name_u64(&j, "count", k->count);
    emit_now(&j, "lastObservedTime");
    json_end_object(&j);
    json_end_object(&j);
}

static bool make(void *arg, struct line_job *j, struct kube_request *request, struct buf *path,
                 struct buf *body)
{
    struct events *e = arg;
    struct known *k = container_of(j, struct known, job);
    buf_addf(path, "/apis/events.k8s.io/v1/namespaces/%.*s/events", STR_ARG(home_of(&k->event)));
    if (k->is_there) {
        buf_add_char(path, '/');
        add_name(path, k);
        emit_series(k, body);
        request->method = KUBE_PATCH;
        request->content_type = "application/merge-patch+json";
    } else {
        emit_event(e, k, body);
        request->method = KUBE_POST;
    }
    k->sent = k->count;
    k->sent_at = loop_now(e->options.loop);
    return true;
}

static void complain(struct events *e, const struct known *k, const struct kube_result *result)
{
    if (!e->has_complained) {
        e->has_complained = true;
        log_line(LOG_WARN,
                 "an Event cannot be written%s namespace=%.*s status=%u error=\"%s\" "
                 "message=\"%.*s\"",
                 result->status == STATUS_FORBIDDEN
                     ? ": our role lacks create and patch on events in events.k8s.io"
                     : "",
                 STR_ARG(home_of(&k->event)), result->status, err_text(result->error),
                 STR_ARG(result->message));
    }
}

static enum line_verdict judge(void *arg, struct line_job *j, const struct kube_result *result)
{
    struct events *e = arg;
    struct known *k = container_of(j, struct known, job);
    bool is_answer = result->error == E_OK;
    if (is_answer && result->status == STATUS_CONFLICT && !k->is_there) {
        k->is_there = true; /* of a leader before us, or before our restart */
        return LINE_DONE;
    }
    if (is_answer && result->status == STATUS_NOT_FOUND && k->is_there) {
        k->is_there = false; /* the API server has forgotten it */
        return LINE_ANEW;
    }
    if (is_answer && str_eq(result->reason, STR("NamespaceTerminating"))) {
        return LINE_DONE; /* with the objects that it is about */
    }
    complain(e, k, result);
    return line_may_pass(result) ? LINE_AGAIN : LINE_DONE;
}

static void on_end(void *arg, struct line_job *j, const struct kube_result *result)
{
    struct events *e = arg;
    struct known *k = container_of(j, struct known, job);
    if (result != NULL && kube_result_is_ok(result)) {
        e->has_complained = false;
        e->counters.created += !k->is_there;
        e->counters.counted_up += k->is_there;
        k->is_there = true;
    } else if (!k->is_there) {
        e->counters.refused++;
        known_drop(e, k); /* when it is told again, it is tried again */
    }
}

static const struct line_ops line_ops = {.make = make, .judge = judge, .on_end = on_end};

/* ---- now and then ---- */

static void on_repeat(struct timer *t)
{
    struct events *e = container_of(t, struct events, repeat);
    loop_arm(e->options.loop, t, text_jitter(EVENTS_REPEAT), on_repeat);
    /* Out of memory: the rest is told next time. */
    (void)e->options.each_diag(e->options.arg, events_on_diag, e);
}

/* True: nobody has told it for as long as the API server keeps Events. */
static bool is_stale(const struct events *e, const struct known *k)
{
    return !line_job_is_in(&k->job) && loop_now(e->options.loop) - k->seen_at >= EVENTS_KNOWN;
}

/* Writes the counts that were held back, and drops what is stale into a new table; without memory
 * for one, it stays for now. */
static void on_sweep(struct timer *t)
{
    struct events *e = container_of(t, struct events, sweep);
    struct map kept;
    loop_arm(e->options.loop, t, text_jitter(EVENTS_SERIES), on_sweep);
    map_init(&kept);
    if (map_reserve(&kept, e->known.n) != E_OK) {
        return;
    }
    map_each(slot, &e->known)
    {
        struct known *k = slot->value;
        if (is_stale(e, k)) {
            mem_free(k);
            continue;
        }
        must(map_add(&kept, k->hash, k) == E_OK); /* reserved */
        if (is_due(e, k) && !line_job_is_in(&k->job) && take_budget(e, &k->event)) {
            line_add(&e->line, &k->job);
        }
    }
    map_fini(&e->known);
    e->known = kept;
}

static void forget_all(struct events *e)
{
    map_each(slot, &e->known)
    {
        struct known *k = slot->value;
        line_del(&k->job);
        mem_free(k);
    }
    map_fini(&e->known);
    map_init(&e->known);
}

void events_switch(struct events *e, bool is_on)
{
    if (e->is_on == is_on) {
        return;
    }
    e->is_on = is_on;
    if (!is_on) {
        loop_disarm(e->options.loop, &e->repeat);
        loop_disarm(e->options.loop, &e->sweep);
        forget_all(e);
        return;
    }
    loop_arm(e->options.loop, &e->sweep, text_jitter(EVENTS_SERIES), on_sweep);
    if (e->options.each_diag != NULL) {
        loop_arm(e->options.loop, &e->repeat, 0, on_repeat);
    }
}

/* ---- life ---- */

enum err events_open(const struct events_options *options, struct events **ret)
{
    struct events *e = mem_calloc(1, sizeof(*e));
    if (e == NULL) {
        return E_NOMEM;
    }
    e->options = *options;
    map_init(&e->known);
    buf_init(&e->note, MANIFEST_OBJECT_BYTES_MAX);
    line_init(&e->line, options->loop, options->client, &line_ops, e, EVENTS_WRITES_MAX);
    *ret = e;
    return E_OK;
}

void events_close(struct events *e)
{
    if (e == NULL) {
        return;
    }
    loop_disarm(e->options.loop, &e->repeat);
    loop_disarm(e->options.loop, &e->sweep);
    forget_all(e);
    map_fini(&e->known);
    line_fini(&e->line);
    buf_fini(&e->note);
    mem_free(e);
}

const struct events_counters *events_counters(const struct events *e)
{
    return &e->counters;
}

uint64_t events_retries(const struct events *e)
{
    return e->line.retries;
}
