/* A record for each Ingress that is to be written, in line; what is written is decided when its
 * turn comes. */
#include "status/ingress_status.h"

#include "base/hash.h"
#include "base/limits.h"
#include "base/mem.h"
#include "document/json_write.h"
#include "log/log.h"
#include "status/text.h"

enum { STATUS_FORBIDDEN = 403, STATUS_NOT_FOUND = 404, STATUS_CONFLICT = 409 };

enum want { WANT_NOTHING, WANT_WRITE, WANT_CLEAR };

struct record {
    struct line_job job;
    uint64_t hash;
    enum want want; /* of the write under way */
    bool is_left;   /* we gave our claim up and the value stayed: it is somebody else's */
    bool is_lost;   /* it stopped being ours before our eyes: whatever we wrote there goes */
    struct str namespace_name, name; /* in text */
    char text[];
};

struct key {
    struct str namespace_name, name;
};

struct ingress_status {
    struct ingress_status_options options;
    struct address_list addresses;
    struct map records;
    struct line line;
    struct deferred work; /* looks at every Ingress */
    struct timer refresh; /* when to do that again */
    struct deferred cleared;
    bool is_on, is_clearing, is_forbidden, has_complained;
    void (*on_cleared)(void *arg);
    void *on_cleared_arg;
    struct ingress_status_counters counters;
};

/* ---- records ---- */

static uint64_t key_hash(struct key key)
{
    return hash_str(key.namespace_name) * 0x9e3779b97f4a7c15U + hash_str(key.name);
}

static bool record_eq(const void *value, const void *key_arg)
{
    const struct record *r = value;
    const struct key *key = key_arg;
    return str_eq(r->name, key->name) && str_eq(r->namespace_name, key->namespace_name);
}

static struct key key_of(const struct ingress *ingress)
{
    return (struct key){ingress->object.namespace_name, ingress->object.name};
}

static struct record *record_get(const struct ingress_status *s, struct key key)
{
    return map_get(&s->records, key_hash(key), record_eq, &key);
}

/* NULL without memory: the next look at everything finds it again. */
static struct record *record_make(struct ingress_status *s, struct key key)
{
    size_t n = key.namespace_name.n;
    struct record *r = mem_calloc(1, sizeof(*r) + n + key.name.n);
    if (r == NULL) {
        return NULL;
    }
    mem_copy(r->text, key.namespace_name.p, n);
    mem_copy(r->text + n, key.name.p, key.name.n);
    r->namespace_name = str_make(r->text, n);
    r->name = str_make(r->text + n, key.name.n);
    r->hash = key_hash(key);
    if (map_add(&s->records, r->hash, r) != E_OK) {
        mem_free(r);
        return NULL;
    }
    return r;
}

static void record_drop(struct ingress_status *s, struct record *r)
{
    line_del(&r->job);
    must(map_del(&s->records, r->hash, r));
    mem_free(r);
}

static void records_free(struct ingress_status *s)
{
    map_each(slot, &s->records)
    {
        struct record *r = slot->value;
        line_del(&r->job);
        mem_free(r);
    }
    map_fini(&s->records);
    map_init(&s->records);
}

/* ---- what an Ingress should say ---- */

static bool says(const struct ingress *ingress, const struct published_address *items, uint32_t n)
{
    bool is_same = ingress->published_n == n;
    for (uint32_t i = 0; is_same && i < n; i++) {
        is_same = str_eq(ingress->published[i].ip, items[i].ip) &&
                  str_eq(ingress->published[i].hostname, items[i].hostname);
    }
    return is_same;
}

/* r: what is known of it; or NULL. Of one that is not ours nothing but its value tells that we
 * wrote it, unless we saw it stop being ours. */
static enum want judge(const struct ingress_status *s, const struct ingress *ingress,
                       const struct record *r)
{
    if (!s->addresses.is_known || ingress->object.uid.n == 0) {
        return WANT_NOTHING;
    }
    bool is_said = says(ingress, s->addresses.items, s->addresses.n);
    if (s->is_clearing || !s->options.is_ours(s->options.arg, ingress)) {
        bool is_written = is_said || (r != NULL && r->is_lost);
        return is_written && ingress->published_n > 0 ? WANT_CLEAR : WANT_NOTHING;
    }
    if (s->addresses.n == 0) {
        return ingress->published_n > 0 ? WANT_CLEAR : WANT_NOTHING;
    }
    return is_said ? WANT_NOTHING : WANT_WRITE;
}

static void consider(struct ingress_status *s, const struct ingress *ingress)
{
    struct record *r = record_get(s, key_of(ingress));
    enum want want = judge(s, ingress, r);
    if (want == WANT_NOTHING) {
        if (r != NULL && r->job.call == NULL) {
            record_drop(s, r);
        }
        return;
    }
    if (r == NULL) {
        r = record_make(s, key_of(ingress));
    }
    if (r != NULL && !(r->is_left && want == WANT_CLEAR)) {
        r->is_left = false;
        line_add(&s->line, &r->job);
    }
}

/* ---- writing ---- */

static void emit_addresses(struct json *j, struct address_list addresses)
{
    json_name(j, "status");
    json_object(j);
    json_name(j, "loadBalancer");
    json_object(j);
    json_name(j, "ingress");
    json_array(j);
    for (uint32_t i = 0; i < addresses.n; i++) {
        const struct published_address *item = &addresses.items[i];
        json_object(j);
        if (item->ip.n > 0) {
            json_name_str(j, "ip", item->ip);
        }
        if (item->hostname.n > 0) {
            json_name_str(j, "hostname", item->hostname);
        }
        json_end_object(j);
    }
    json_end_array(j);
    json_end_object(j);
    json_end_object(j);
}

/* To clear is to apply an object without the field: our claim to it goes, and with it the value,
 * unless another manager claims it, too. */
static void emit_body(const struct ingress_status *s, const struct ingress *ingress, enum want want,
                      struct buf *body)
{
    struct json j = json_make(body, false);
    json_object(&j);
    json_name_cstr(&j, "apiVersion", "networking.k8s.io/v1");
    json_name_cstr(&j, "kind", "Ingress");
    json_name(&j, "metadata");
    json_object(&j);
    json_name_str(&j, "name", ingress->object.name);
    json_name_str(&j, "namespace", ingress->object.namespace_name);
    json_name_str(&j, "uid", ingress->object.uid);
    json_end_object(&j);
    if (want == WANT_WRITE) {
        emit_addresses(&j, s->addresses);
    }
    json_end_object(&j);
}

static const struct ingress *ingress_of(const struct ingress_status *s, const struct record *r)
{
    const struct object *o =
        store_get(s->options.store, OBJECT_INGRESS, r->namespace_name, r->name);
    return (const struct ingress *)(const void *)o;
}

static bool make(void *arg, struct line_job *j, struct kube_request *request, struct buf *path,
                 struct buf *body)
{
    struct ingress_status *s = arg;
    struct record *r = container_of(j, struct record, job);
    const struct ingress *ingress = ingress_of(s, r);
    r->want = ingress == NULL ? WANT_NOTHING : judge(s, ingress, r);
    if (r->want == WANT_NOTHING) {
        return false;
    }
    buf_addf(path, "/apis/networking.k8s.io/v1/namespaces/%.*s/ingresses/%.*s/status",
             STR_ARG(r->namespace_name), STR_ARG(r->name));
    buf_add_str(path, STR("?fieldManager=lintel&force=true"));
    emit_body(s, ingress, r->want, body);
    request->method = KUBE_PATCH;
    request->content_type = "application/apply-patch+yaml"; /* JSON is YAML */
    return true;
}

static void tell_forbidden(struct ingress_status *s, const struct record *r,
                           const struct kube_result *result)
{
    const struct ingress *ingress = ingress_of(s, r);
    if (!s->is_forbidden) {
        s->is_forbidden = true;
        log_line(LOG_ERROR,
                 "the status of Ingresses may not be written: our role lacks the verb patch on "
                 "ingresses/status; trying again message=\"%.*s\"",
                 STR_ARG(result->message));
        if (ingress != NULL) {
            s->options.on_forbidden(s->options.arg, ingress);
        }
    }
}

static enum line_verdict judge_failure(void *arg, struct line_job *j,
                                       const struct kube_result *result)
{
    struct ingress_status *s = arg;
    const struct record *r = container_of(j, struct record, job);
    if (result->error == E_OK && result->status == STATUS_FORBIDDEN) {
        tell_forbidden(s, r, result);
        return LINE_FORBIDDEN;
    }
    if (!s->has_complained && result->status != STATUS_NOT_FOUND &&
        result->status != STATUS_CONFLICT) {
        s->has_complained = true;
        log_line(LOG_WARN,
                 "the status of an Ingress cannot be written ingress=%.*s/%.*s status=%u "
                 "error=\"%s\" message=\"%.*s\"",
                 STR_ARG(r->namespace_name), STR_ARG(r->name), result->status,
                 err_text(result->error), STR_ARG(result->message));
    }
    return line_may_pass(result) ? LINE_AGAIN : LINE_DONE;
}

static void on_cleared(struct deferred *d)
{
    struct ingress_status *s = container_of(d, struct ingress_status, cleared);
    s->on_cleared(s->on_cleared_arg);
}

static void note_if_clear(struct ingress_status *s)
{
    if (s->is_clearing && line_is_empty(&s->line)) {
        loop_defer(s->options.loop, &s->cleared, on_cleared);
    }
}

static void count(struct ingress_status *s, const struct record *r,
                  const struct kube_result *result)
{
    struct ingress_status_counters *c = &s->counters;
    if (kube_result_is_ok(result)) {
        s->is_forbidden = s->has_complained = false;
        c->written += r->want == WANT_WRITE;
        c->cleared += r->want == WANT_CLEAR;
    } else if (line_may_pass(result)) {
        c->given_up++;
    } else {
        c->refused++;
    }
}

static void on_end(void *arg, struct line_job *j, const struct kube_result *result)
{
    struct ingress_status *s = arg;
    struct record *r = container_of(j, struct record, job);
    if (result != NULL) {
        count(s, r, result);
    }
    bool is_clear = result != NULL && kube_result_is_ok(result) && r->want == WANT_CLEAR;
    if (is_clear) {
        r->is_left = true; /* until we see that it is gone */
    } else {
        record_drop(s, r);
    }
    note_if_clear(s);
}

static const struct line_ops line_ops = {.make = make, .judge = judge_failure, .on_end = on_end};

/* ---- looking ---- */

static void consider_one(void *arg, const struct object *o)
{
    consider(arg, (const struct ingress *)(const void *)o);
}

static void on_refresh(struct timer *t);

static void on_work(struct deferred *d)
{
    struct ingress_status *s = container_of(d, struct ingress_status, work);
    store_each(s->options.store, OBJECT_INGRESS, consider_one, s);
    loop_arm(s->options.loop, &s->refresh, text_jitter(STATUS_REFRESH), on_refresh);
    note_if_clear(s);
}

static void look_at_all(struct ingress_status *s)
{
    if (s->is_on && s->addresses.is_known) {
        loop_defer(s->options.loop, &s->work, on_work);
    }
}

static void on_refresh(struct timer *t)
{
    look_at_all(container_of(t, struct ingress_status, refresh));
}

void ingress_status_on_class_change(struct ingress_status *s)
{
    look_at_all(s);
}

void ingress_status_publish(struct ingress_status *s, struct address_list addresses)
{
    s->addresses = addresses;
    look_at_all(s);
}

static void note_loss(struct ingress_status *s, const struct ingress *old_ingress,
                      const struct ingress *new_ingress)
{
    bool is_now = s->options.is_ours(s->options.arg, new_ingress);
    bool is_lost = !is_now && s->options.is_ours(s->options.arg, old_ingress);
    struct record *r = record_get(s, key_of(new_ingress));
    if (r == NULL && is_lost) {
        r = record_make(s, key_of(new_ingress));
    }
    if (r != NULL && (is_lost || is_now)) {
        r->is_lost = is_lost;
    }
}

static void forget(struct ingress_status *s, const struct ingress *ingress)
{
    struct record *r = record_get(s, key_of(ingress));
    if (r != NULL) {
        record_drop(s, r);
        note_if_clear(s);
    }
}

static bool is_another(const struct ingress *a, const struct ingress *b)
{
    return !str_eq(a->object.uid, b->object.uid) || !says(a, b->published, b->published_n);
}

void ingress_status_on_change(struct ingress_status *s, const struct ingress *old_ingress,
                              const struct ingress *new_ingress)
{
    if (!s->is_on) {
        return;
    }
    if (new_ingress == NULL) {
        forget(s, old_ingress);
        return;
    }
    struct record *r = record_get(s, key_of(new_ingress));
    if (old_ingress != NULL && !is_another(old_ingress, new_ingress)) {
        note_loss(s, old_ingress, new_ingress);
    } else if (r != NULL) {
        r->is_left = r->is_lost = false;
    }
    consider(s, new_ingress);
}

void ingress_status_switch(struct ingress_status *s, bool is_on)
{
    s->is_on = is_on;
    if (is_on) {
        look_at_all(s);
        return;
    }
    loop_undefer(&s->work);
    loop_disarm(s->options.loop, &s->refresh);
    records_free(s);
}

void ingress_status_clear(struct ingress_status *s, void (*fn)(void *arg), void *arg)
{
    s->is_clearing = true;
    s->on_cleared = fn;
    s->on_cleared_arg = arg;
    if (s->is_on && s->addresses.is_known) {
        look_at_all(s);
    } else {
        loop_defer(s->options.loop, &s->cleared, on_cleared);
    }
}

/* ---- life ---- */

enum err ingress_status_open(const struct ingress_status_options *options,
                             struct ingress_status **ret)
{
    struct ingress_status *s = mem_calloc(1, sizeof(*s));
    if (s == NULL) {
        return E_NOMEM;
    }
    s->options = *options;
    map_init(&s->records);
    line_init(&s->line, options->loop, options->client, &line_ops, s, STATUS_WRITES_MAX);
    *ret = s;
    return E_OK;
}

void ingress_status_close(struct ingress_status *s)
{
    if (s == NULL) {
        return;
    }
    loop_undefer(&s->work);
    loop_undefer(&s->cleared);
    loop_disarm(s->options.loop, &s->refresh);
    records_free(s);
    map_fini(&s->records);
    line_fini(&s->line);
    mem_free(s);
}

const struct ingress_status_counters *ingress_status_counters(const struct ingress_status *s)
{
    return &s->counters;
}

uint64_t ingress_status_retries(const struct ingress_status *s)
{
    return s->line.retries;
}

size_t ingress_status_waiting(const struct ingress_status *s)
{
    return s->line.waiting_n + s->line.under_way_n;
}
