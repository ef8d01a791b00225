/* The parts, switched on and off by who leads; the end in its order. */
#include "status/status.h"

#include <unistd.h>

#include "base/limits.h"
#include "base/mem.h"
#include "log/log.h"
#include "status/events.h"
#include "status/ingress_status.h"
#include "status/leader.h"
#include "status/text.h"
#include "wire/uri.h"

enum { IDENTITY_BYTES_MAX = 512, HOST_BYTES_MAX = 256, CHANCE_DIGITS = 16, LABEL_BYTES_MAX = 512 };

struct status {
    struct loop *loop;
    const struct status_options *options;
    const struct status_callbacks *callbacks;
    struct buf identity;
    struct leader *leader; /* NULL: no election, we lead */
    struct address *address;
    struct ingress_status *ingress_status;
    struct events *events;
    struct store_listener listener;
    bool is_leading, is_synced;

    /* the end */
    bool is_closing, has_released, has_ended;
    struct peers peers;
    uint32_t other_n; /* replicas that are there, or coming */
    struct timer close_timer;
    struct deferred closed;
    void (*on_closed)(void *arg);
    void *on_closed_arg;
};

/* ---- who writes ---- */

static void switch_parts(struct status *s)
{
    bool is_on = s->is_leading && s->is_synced;
    address_switch(s->address, is_on && s->options->updates_status);
    ingress_status_switch(s->ingress_status, is_on && s->options->updates_status);
    events_switch(s->events, is_on && !s->is_closing);
}

void status_on_synced(struct status *s)
{
    if (!s->is_synced) {
        s->is_synced = true;
        switch_parts(s);
    }
}

bool status_is_leading(const struct status *s)
{
    return s->is_leading;
}

/* ---- between the parts ---- */

static void on_addresses(void *arg)
{
    struct status *s = arg;
    ingress_status_publish(s->ingress_status, address_get(s->address));
}

static bool is_ours(void *arg, const struct ingress *ingress)
{
    const struct status *s = arg;
    return s->callbacks->is_ours(s->callbacks->arg, ingress);
}

static void on_forbidden(void *arg, const struct ingress *ingress)
{
    struct status *s = arg;
    events_tell(s->events, &ingress->object, true, STR("StatusForbidden"), STR("Publish"),
                STR("The addresses of this Ingress cannot be written into its status: Lintel's "
                    "role lacks the verb patch on ingresses/status."));
}

static enum err each_diag(void *arg, diag_fn *fn, void *fn_arg)
{
    const struct status *s = arg;
    return s->callbacks->each_diag(s->callbacks->arg, fn, fn_arg);
}

void status_on_diag(void *status, const struct diag *d)
{
    events_on_diag(((struct status *)status)->events, d);
}

/* ---- changes of the store ---- */

static const struct ingress *as_ingress(const struct object *o)
{
    return (const void *)o;
}

/* Its status and its labels route nothing. */
static bool has_same_routes(const struct ingress *a, const struct ingress *b)
{
    struct ingress probe = *b;
    probe.published = a->published;
    probe.published_n = a->published_n;
    probe.object.labels = a->object.labels;
    return object_is_equal(&a->object, &probe.object);
}

static void tell_sync(struct status *s, const struct ingress *old_ingress,
                      const struct ingress *new_ingress)
{
    bool is_news = old_ingress == NULL || !has_same_routes(old_ingress, new_ingress);
    if (s->options->has_sync_events && is_news && is_ours(s, new_ingress)) {
        events_tell(s->events, &new_ingress->object, false, STR("Sync"), STR("Sync"),
                    STR("Scheduled for sync"));
    }
}

static void on_change(void *arg, const struct object *old_object, const struct object *new_object)
{
    struct status *s = arg;
    enum object_kind kind = (new_object != NULL ? new_object : old_object)->kind;
    if (!s->is_leading || !s->is_synced) {
        return;
    }
    if (kind == OBJECT_INGRESS) {
        ingress_status_on_change(s->ingress_status, as_ingress(old_object), as_ingress(new_object));
        if (new_object != NULL) {
            tell_sync(s, as_ingress(old_object), as_ingress(new_object));
        }
    } else if (kind == OBJECT_INGRESS_CLASS) {
        ingress_status_on_class_change(s->ingress_status);
    } else if (kind == OBJECT_SERVICE) {
        address_on_service(s->address, (const struct service *)(const void *)new_object);
    }
}

/* ---- the end ---- */

static void on_end(struct deferred *d)
{
    struct status *s = container_of(d, struct status, closed);
    loop_disarm(s->loop, &s->close_timer);
    if (!s->has_ended) {
        s->has_ended = true;
        s->on_closed(s->on_closed_arg);
    }
}

static void on_released(void *arg)
{
    struct status *s = arg;
    loop_defer(s->loop, &s->closed, on_end);
}

/* No more is written; the last thing is the lease, so that the next leader finds everything done.
 */
static void release(struct status *s)
{
    if (s->has_released) {
        return;
    }
    s->has_released = true;
    s->is_leading = false;
    switch_parts(s);
    if (s->leader != NULL) {
        leader_release(s->leader, on_released, s);
    } else {
        on_released(s);
    }
}

static void on_cleared(void *arg)
{
    release(arg);
}

static void on_close_timeout(struct timer *t)
{
    struct status *s = container_of(t, struct status, close_timer);
    log_line(LOG_WARN, "the end does not wait any longer for the API server left=%zu",
             ingress_status_waiting(s->ingress_status));
    release(s);
    loop_defer(s->loop, &s->closed, on_end);
}

static void on_peer(void *arg, const struct tree_node *pod)
{
    struct status *s = arg;
    struct str name = tree_get_string(tree_get(pod, STR("metadata")), STR("name"));
    s->other_n += !str_eq(name, s->options->pod) && peers_is_coming(pod);
}

/* When it is not known whether there are others, the addresses stay: wrong ones for a while are
 * better than none while others serve. */
static void on_peers(void *arg, const struct kube_result *result)
{
    struct status *s = arg;
    if (kube_result_is_ok(result) && s->other_n == 0) {
        ingress_status_clear(s->ingress_status, on_cleared, s);
    } else {
        release(s);
    }
}

static bool may_clear(const struct status *s)
{
    const struct status_options *o = s->options;
    return s->is_leading && s->is_synced && o->updates_status && o->clears_on_shutdown &&
           o->pod.n > 0 && o->pod_namespace.n > 0;
}

void status_close(struct status *s, void (*on_closed)(void *arg), void *arg)
{
    s->is_closing = true;
    s->on_closed = on_closed;
    s->on_closed_arg = arg;
    events_switch(s->events, false);
    loop_arm(s->loop, &s->close_timer, TIMEOUT_STATUS_CLOSE, on_close_timeout);
    if (!may_clear(s) || peers_look(&s->peers, on_peer, on_peers, s) != E_OK) {
        release(s);
    }
}

/* Who does not lead any more has nothing left to clear. */
static void on_leader_change(void *arg, bool is_leading)
{
    struct status *s = arg;
    s->is_leading = is_leading;
    switch_parts(s);
    if (s->is_closing && !is_leading) {
        release(s);
    }
}

/* ---- life ---- */

/* Within a pod the name of the pod: a controller that comes back there leads again at once. Else
 * something that nobody else has. */
static void make_identity(struct status *s)
{
    char host[HOST_BYTES_MAX] = "";
    buf_init(&s->identity, IDENTITY_BYTES_MAX);
    if (s->options->pod.n > 0) {
        buf_add_str(&s->identity, s->options->pod);
        return;
    }
    if (gethostname(host, sizeof(host) - 1) == 0) {
        buf_add_str(&s->identity, str_from_cstr(host));
    }
    buf_add_char(&s->identity, '_');
    text_add_random(&s->identity, CHANCE_DIGITS);
}

static enum err open_leader(struct status *s, struct kube_client *client)
{
    const struct status_options *o = s->options;
    const struct leader_options leader = {.loop = s->loop,
                                          .client = client,
                                          .namespace_name = o->election_namespace,
                                          .name = o->election_id,
                                          .identity = buf_str(&s->identity),
                                          .duration = o->election_ttl,
                                          .on_change = on_leader_change,
                                          .arg = s};
    if (!o->has_election) {
        s->is_leading = true;
        return E_OK;
    }
    if (!dns_subdomain_is_valid(o->election_id) || !dns_label_is_valid(o->election_namespace)) {
        return E_REFUSED;
    }
    return leader_open(&leader, &s->leader);
}

static enum err open_parts(struct status *s, struct kube_client *client, struct store *store)
{
    const struct status_options *o = s->options;
    const struct address_options address = {.loop = s->loop,
                                            .client = client,
                                            .store = store,
                                            .publish_status_address = o->publish_status_address,
                                            .publish_service_namespace =
                                                o->publish_service_namespace,
                                            .publish_service = o->publish_service,
                                            .pod_namespace = o->pod_namespace,
                                            .pod = o->pod,
                                            .reports_internal_ip = o->reports_internal_ip,
                                            .on_change = on_addresses,
                                            .arg = s};
    const struct ingress_status_options ingress_status = {.loop = s->loop,
                                                          .client = client,
                                                          .store = store,
                                                          .is_ours = is_ours,
                                                          .on_forbidden = on_forbidden,
                                                          .arg = s};
    const struct events_options events = {.loop = s->loop,
                                          .client = client,
                                          .store = store,
                                          .controller = o->controller,
                                          .instance = buf_str(&s->identity),
                                          .each_diag = each_diag,
                                          .arg = s};
    TRY(address_open(&address, &s->address));
    TRY(ingress_status_open(&ingress_status, &s->ingress_status));
    TRY(events_open(&events, &s->events));
    return open_leader(s, client);
}

enum err status_open(struct loop *loop, struct kube_client *client, struct store *store,
                     const struct status_options *options, const struct status_callbacks *callbacks,
                     struct status **ret)
{
    struct status *s = mem_calloc(1, sizeof(*s));
    if (s == NULL) {
        return E_NOMEM;
    }
    s->loop = loop;
    s->options = options;
    s->callbacks = callbacks;
    peers_init(&s->peers, client, options->pod_namespace, options->pod);
    make_identity(s);
    enum err e = s->identity.bad ? E_NOMEM : open_parts(s, client, store);
    if (e != E_OK) {
        status_free(s);
        return e;
    }
    store_listen(store, &s->listener, on_change, s);
    *ret = s;
    return E_OK;
}

void status_free(struct status *s)
{
    if (s == NULL) {
        return;
    }
    store_unlisten(&s->listener);
    loop_disarm(s->loop, &s->close_timer);
    loop_undefer(&s->closed);
    leader_free(s->leader);
    peers_fini(&s->peers);
    ingress_status_close(s->ingress_status);
    address_close(s->address);
    events_close(s->events);
    buf_fini(&s->identity);
    mem_free(s);
}

/* ---- metrics ---- */

struct counters {
#define COUNTER(field, type, metric, labels, help) uint64_t field;
#include "status/counters.def"
#undef COUNTER
};

static void count_writes(const struct status *s, struct counters *c)
{
    const struct ingress_status_counters *status = ingress_status_counters(s->ingress_status);
    c->status_written = status->written;
    c->status_cleared = status->cleared;
    c->status_refused = status->refused;
    c->status_given_up = status->given_up;
    c->status_retries = ingress_status_retries(s->ingress_status);
    c->status_waiting = ingress_status_waiting(s->ingress_status);
}

static void count_events(const struct status *s, struct counters *c)
{
    const struct events_counters *events = events_counters(s->events);
    c->events_created = events->created;
    c->events_counted_up = events->counted_up;
    c->events_refused = events->refused;
    c->events_dropped_budget = events->dropped_budget;
    c->events_dropped_table = events->dropped_table;
    c->events_dropped_memory = events->dropped_memory;
    c->events_retries = events_retries(s->events);
}

static void count_looks(const struct status *s, struct counters *c)
{
    const struct address_counters *address = address_counters(s->address);
    c->addresses = s->is_leading ? address_get(s->address).n : 0;
    c->address_dropped = address->dropped;
    c->address_looks = address->looks;
    c->address_failures = address->failures;
    if (s->leader != NULL) {
        const struct leader_counters *leader = leader_counters(s->leader);
        c->leader_gained = leader->gained;
        c->leader_lost = leader->lost;
        c->leader_failures = leader->failures;
    }
}

static void tell_leading(const struct status *s, status_metric_fn *fn, void *arg)
{
    char labels[LABEL_BYTES_MAX];
    struct wr w = wr_make(labels, sizeof(labels) - 1);
    wr_str(&w, STR("name=\""));
    wr_str(&w, s->options->election_id); /* a DNS name: nothing to escape */
    wr_char(&w, '"');
    labels[wr_n(&w)] = 0;
    fn(arg, &(struct status_metric){
                .name = "nginx_ingress_controller_leader_election_status",
                .labels = labels,
                .help = "1: this replica leads, and writes the status of Ingresses and Events.",
                .is_gauge = true,
                .value = s->is_leading});
}

void status_each_metric(const struct status *s, status_metric_fn *fn, void *arg)
{
    enum { gauge = true, counter = false };
    struct counters c = {0};
    count_writes(s, &c);
    count_events(s, &c);
    count_looks(s, &c);
    if (s->leader != NULL) {
        tell_leading(s, fn, arg);
    }
#define COUNTER(field, type, metric, label_text, help_text)                                        \
    fn(arg, &(struct status_metric){.name = (metric),                                              \
                                    .labels = (label_text),                                        \
                                    .help = (help_text),                                           \
                                    .is_gauge = (type),                                            \
                                    .value = c.field});
#include "status/counters.def"
#undef COUNTER
}
