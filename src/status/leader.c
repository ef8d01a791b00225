/* Looking at the Lease, taking it, renewing it, giving it back: one call at a time. */
#include "status/leader.h"

#include "base/hash.h"
#include "base/limits.h"
#include "base/mem.h"
#include "document/json_write.h"
#include "log/log.h"
#include "status/text.h"

enum {
    TEXT_BYTES_MAX = 4096,
    VERSION_BYTES_MAX = 64,
    STATUS_NOT_FOUND = 404,
    STATUS_CONFLICT = 409,
    DURATION_SECONDS_MAX = 24 * 3600 /* of a Lease of somebody else */
};

/* What we know of the Lease. */
struct lease {
    char version_text[VERSION_BYTES_MAX]; /* resourceVersion of the last answer */
    struct str version;                   /* in it; empty: there was none yet */
    uint64_t mark;   /* hash of holder and renewTime: when it changes, the holder is alive */
    usec_t seen_at;  /* when it changed last, by our clock */
    usec_t duration; /* as its holder wants it */
    bool is_free, is_ours;
    uint64_t transitions;
};

enum lease_write { LEASE_TAKE, LEASE_RENEW, LEASE_GIVE_BACK };

struct leader {
    struct leader_options options;
    char *texts;
    struct buf path, body;
    struct inquiry ask;
    struct timer next;     /* the next look or renewal */
    struct timer deadline; /* leading ends */
    struct deferred released;
    struct lease lease;
    usec_t asked_at; /* when the call under way began */
    bool is_leading, is_releasing, has_complained;
    void (*on_released)(void *arg);
    void *on_released_arg;
    struct leader_counters counters;
};

static void on_next(struct timer *t);

static usec_t renew_period(const struct leader *l)
{
    return l->options.duration / 3;
}

/* ---- gaining and losing ---- */

static void stop_leading(struct leader *l, const char *why)
{
    loop_disarm(l->options.loop, &l->deadline);
    if (l->is_leading) {
        l->is_leading = false;
        l->counters.lost++;
        log_line(LOG_WARN, "no longer the leader: %s lease=%.*s/%.*s", why,
                 STR_ARG(l->options.namespace_name), STR_ARG(l->options.name));
        l->options.on_change(l->options.arg, false);
    }
}

static void on_deadline(struct timer *t)
{
    stop_leading(container_of(t, struct leader, deadline), "the lease could not be renewed");
}

/* The Lease was written as ours by the call that began at asked_at. */
static void lead(struct leader *l)
{
    usec_t passed = loop_now(l->options.loop) - l->asked_at, term = l->options.duration / 3 * 2;
    l->has_complained = false;
    if (passed >= term) {
        stop_leading(l, "the answer to its renewal came too late");
        return;
    }
    loop_arm(l->options.loop, &l->deadline, term - passed, on_deadline);
    if (!l->is_leading) {
        l->is_leading = true;
        l->counters.gained++;
        log_line(LOG_INFO, "leading lease=%.*s/%.*s identity=%.*s",
                 STR_ARG(l->options.namespace_name), STR_ARG(l->options.name),
                 STR_ARG(l->options.identity));
        l->options.on_change(l->options.arg, true);
    }
}

/* ---- what an answer says ---- */

static void note_version(struct lease *lease, struct str version)
{
    lease->version = STR_EMPTY;
    if (version.n <= sizeof(lease->version_text)) {
        mem_copy(lease->version_text, version.p, version.n);
        lease->version = str_make(lease->version_text, version.n);
    }
}

static usec_t duration_of(const struct leader *l, const struct tree_node *spec)
{
    int64_t seconds;
    const struct tree_node *node = tree_get(spec, STR("leaseDurationSeconds"));
    if (node == NULL || !tree_to_int(node, &seconds) || seconds < 1) {
        return l->options.duration;
    }
    return (usec_t)(seconds < DURATION_SECONDS_MAX ? seconds : DURATION_SECONDS_MAX) * USEC_PER_SEC;
}

static void note_lease(struct leader *l, const struct tree_node *root)
{
    struct lease *lease = &l->lease;
    const struct tree_node *spec = tree_get(root, STR("spec"));
    struct str holder = tree_get_string(spec, STR("holderIdentity"));
    struct str renewed = tree_get_string(spec, STR("renewTime"));
    uint64_t mark = hash_str(holder) * 31 + hash_str(renewed);
    int64_t transitions;
    if (lease->version.n == 0 || mark != lease->mark) {
        lease->seen_at = loop_now(l->options.loop);
    }
    note_version(lease, tree_get_string(tree_get(root, STR("metadata")), STR("resourceVersion")));
    lease->mark = mark;
    lease->duration = duration_of(l, spec);
    lease->is_free = holder.n == 0;
    lease->is_ours = str_eq(holder, l->options.identity);
    const struct tree_node *node = tree_get(spec, STR("leaseTransitions"));
    bool has_transitions = node != NULL && tree_to_int(node, &transitions) && transitions >= 0;
    lease->transitions = has_transitions ? (uint64_t)transitions : 0;
}

static bool may_take(const struct leader *l)
{
    const struct lease *lease = &l->lease;
    bool has_expired = loop_now(l->options.loop) - lease->seen_at >= lease->duration;
    return lease->version.n > 0 && (lease->is_free || lease->is_ours || has_expired);
}

/* ---- calls ---- */

/* The next look: not only now and then, but right when the Lease may be taken. */
static void look_later(struct leader *l)
{
    usec_t wait = text_jitter(renew_period(l)), now = loop_now(l->options.loop);
    if (!l->is_leading && l->lease.version.n > 0) {
        usec_t end = l->lease.seen_at + l->lease.duration;
        usec_t left = end > now ? end - now : 0;
        usec_t after = left + text_jitter(renew_period(l) / 10);
        wait = after < wait ? after : wait;
    }
    loop_arm(l->options.loop, &l->next, wait, on_next);
}

static void complain(struct leader *l, const char *what, const struct kube_result *result)
{
    l->counters.failures++;
    if (!l->has_complained) {
        l->has_complained = true;
        log_line(LOG_WARN,
                 "the lease of the leader %s; trying again lease=%.*s/%.*s status=%u "
                 "error=\"%s\" message=\"%.*s\"",
                 what, STR_ARG(l->options.namespace_name), STR_ARG(l->options.name), result->status,
                 err_text(result->error), STR_ARG(result->message));
    }
}

/* After a failure: sooner than the next renewal is due, so that there is time for a few tries. */
static void try_again(struct leader *l, const char *what, const struct kube_result *result)
{
    usec_t wait = text_jitter(l->options.duration / 18);
    complain(l, what, result);
    wait = result->retry_after > wait ? result->retry_after : wait;
    loop_arm(l->options.loop, &l->next, wait, on_next);
}

static void send(struct leader *l, const struct kube_request *request, inquiry_fn *on_answer)
{
    struct kube_request r = *request;
    r.timeout = l->options.duration / 9;
    l->asked_at = loop_now(l->options.loop);
    enum err e = l->path.bad || l->body.bad ? E_NOMEM : inquiry_start(&l->ask, &r, on_answer);
    if (e != E_OK) {
        try_again(l, "cannot be asked for", &(struct kube_result){.error = e});
    }
}

static void write_path(struct leader *l, bool has_name)
{
    buf_reset(&l->path);
    buf_addf(&l->path, "/apis/coordination.k8s.io/v1/namespaces/%.*s/leases",
             STR_ARG(l->options.namespace_name));
    if (has_name) {
        buf_addf(&l->path, "/%.*s", STR_ARG(l->options.name));
    }
}

static void emit_time(struct json *j, const char *name, usec_t wall)
{
    struct buf text;
    buf_init(&text, VERSION_BYTES_MAX);
    text_add_micro_time(&text, wall);
    json_name_str(j, name, buf_str(&text));
    j->out->bad = j->out->bad || text.bad;
    buf_fini(&text);
}

static void emit_spec(struct leader *l, struct json *j, enum lease_write write)
{
    bool is_new_term = write == LEASE_TAKE && !l->lease.is_ours;
    bool is_end = write == LEASE_GIVE_BACK;
    json_name(j, "spec");
    json_object(j);
    json_name_str(j, "holderIdentity", is_end ? STR_EMPTY : l->options.identity);
    json_name_u64(j, "leaseDurationSeconds", is_end ? 1 : l->options.duration / USEC_PER_SEC);
    if (is_new_term) {
        emit_time(j, "acquireTime", clock_wall());
        json_name_u64(j, "leaseTransitions",
                      l->lease.version.n == 0 ? 0 : l->lease.transitions + 1);
    }
    emit_time(j, "renewTime", clock_wall());
    json_end_object(j);
}

static void emit_metadata(const struct leader *l, struct json *j, bool is_creation)
{
    json_name(j, "metadata");
    json_object(j);
    if (is_creation) {
        json_name_str(j, "name", l->options.name);
        json_name_str(j, "namespace", l->options.namespace_name);
    } else {
        json_name_str(j, "resourceVersion", l->lease.version);
    }
    json_end_object(j);
}

static void write_body(struct leader *l, enum lease_write write, bool is_creation)
{
    buf_reset(&l->body);
    struct json j = json_make(&l->body, false);
    json_object(&j);
    if (is_creation) {
        json_name_cstr(&j, "apiVersion", "coordination.k8s.io/v1");
        json_name_cstr(&j, "kind", "Lease");
    }
    emit_metadata(l, &j, is_creation);
    emit_spec(l, &j, write);
    json_end_object(&j);
}

/* A merge patch keeps what others keep in the Lease (labels, owners); with the resourceVersion in
 * it, the API server refuses it when the Lease is no longer what we have seen. */
static void put_lease(struct leader *l, enum lease_write write, inquiry_fn *on_answer)
{
    write_path(l, true);
    write_body(l, write, false);
    send(l,
         &(struct kube_request){.method = KUBE_PATCH,
                                .path = buf_str(&l->path),
                                .content_type = "application/merge-patch+json",
                                .body = buf_str(&l->body)},
         on_answer);
}

static void on_written(struct inquiry *a, const struct kube_result *result,
                       const struct tree_node *root)
{
    struct leader *l = container_of(a, struct leader, ask);
    if (root != NULL) {
        note_lease(l, root);
        if (l->lease.is_ours) {
            lead(l);
        }
        look_later(l);
    } else if (result->status == STATUS_CONFLICT || result->status == STATUS_NOT_FOUND) {
        l->lease.version = STR_EMPTY; /* somebody else wrote it: see who, a little later */
        loop_arm(l->options.loop, &l->next, text_jitter(l->options.duration / 18), on_next);
    } else {
        try_again(l, "cannot be written", result);
    }
}

static void create(struct leader *l)
{
    l->lease = (struct lease){0};
    write_path(l, false);
    write_body(l, LEASE_TAKE, true);
    send(l,
         &(struct kube_request){
             .method = KUBE_POST, .path = buf_str(&l->path), .body = buf_str(&l->body)},
         on_written);
}

static void judge_lease(struct leader *l)
{
    if (l->is_leading && !l->lease.is_ours) {
        stop_leading(l, "somebody else holds the lease");
    }
    if (may_take(l)) {
        put_lease(l, LEASE_TAKE, on_written);
    } else {
        look_later(l);
    }
}

static void on_looked(struct inquiry *a, const struct kube_result *result,
                      const struct tree_node *root)
{
    struct leader *l = container_of(a, struct leader, ask);
    if (root != NULL) {
        note_lease(l, root);
        judge_lease(l);
    } else if (result->status == STATUS_NOT_FOUND) {
        create(l);
    } else {
        try_again(l, "cannot be read", result);
    }
}

static void look(struct leader *l)
{
    write_path(l, true);
    buf_reset(&l->body);
    send(l, &(struct kube_request){.method = KUBE_GET, .path = buf_str(&l->path)}, on_looked);
}

static void on_next(struct timer *t)
{
    struct leader *l = container_of(t, struct leader, next);
    if (l->is_leading && l->lease.version.n > 0) {
        put_lease(l, LEASE_RENEW, on_written);
    } else {
        look(l);
    }
}

/* ---- giving it back ---- */

static void on_given_back(struct inquiry *a, const struct kube_result *result,
                          const struct tree_node *root)
{
    struct leader *l = container_of(a, struct leader, ask);
    (void)root;
    log_line(LOG_INFO, "the lease is %s lease=%.*s/%.*s",
             kube_result_is_ok(result) ? "given back" : "left to expire",
             STR_ARG(l->options.namespace_name), STR_ARG(l->options.name));
    l->on_released(l->on_released_arg);
}

static void on_nothing_to_release(struct deferred *d)
{
    struct leader *l = container_of(d, struct leader, released);
    l->on_released(l->on_released_arg);
}

void leader_release(struct leader *l, void (*on_released)(void *arg), void *arg)
{
    l->on_released = on_released;
    l->on_released_arg = arg;
    loop_disarm(l->options.loop, &l->next);
    loop_disarm(l->options.loop, &l->deadline);
    inquiry_cancel(&l->ask);
    bool is_ours = l->is_leading && l->lease.version.n > 0;
    l->is_leading = false;
    if (!is_ours) {
        loop_defer(l->options.loop, &l->released, on_nothing_to_release);
        return;
    }
    write_path(l, true);
    write_body(l, LEASE_GIVE_BACK, false);
    const struct kube_request request = {.method = KUBE_PATCH,
                                         .path = buf_str(&l->path),
                                         .content_type = "application/merge-patch+json",
                                         .body = buf_str(&l->body)};
    if (l->path.bad || l->body.bad || inquiry_start(&l->ask, &request, on_given_back) != E_OK) {
        loop_defer(l->options.loop, &l->released, on_nothing_to_release);
    }
}

/* ---- life ---- */

static enum err copy_texts(struct leader *l)
{
    struct str *texts[] = {&l->options.namespace_name, &l->options.name, &l->options.identity};
    size_t n = 1;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        n += texts[i]->n;
    }
    char *at = l->texts = mem_alloc(n);
    if (at == NULL) {
        return E_NOMEM;
    }
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        mem_copy(at, texts[i]->p, texts[i]->n);
        texts[i]->p = at;
        at += texts[i]->n;
    }
    return E_OK;
}

enum err leader_open(const struct leader_options *options, struct leader **ret)
{
    must(options->duration >= LEADER_DURATION_MIN);
    struct leader *l = mem_calloc(1, sizeof(*l));
    if (l == NULL) {
        return E_NOMEM;
    }
    l->options = *options;
    if (copy_texts(l) != E_OK) {
        mem_free(l);
        return E_NOMEM;
    }
    inquiry_init(&l->ask, options->client);
    buf_init(&l->path, TEXT_BYTES_MAX);
    buf_init(&l->body, TEXT_BYTES_MAX);
    loop_arm(options->loop, &l->next, 0, on_next);
    *ret = l;
    return E_OK;
}

void leader_free(struct leader *l)
{
    if (l == NULL) {
        return;
    }
    loop_disarm(l->options.loop, &l->next);
    loop_disarm(l->options.loop, &l->deadline);
    loop_undefer(&l->released);
    inquiry_fini(&l->ask);
    buf_fini(&l->path);
    buf_fini(&l->body);
    mem_free(l->texts);
    mem_free(l);
}

bool leader_is_leading(const struct leader *l)
{
    return l->is_leading;
}

const struct leader_counters *leader_counters(const struct leader *l)
{
    return &l->counters;
}
