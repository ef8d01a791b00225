/* How the requests of a Service are spread: ingress-nginx' annotation load-balance. It stands on an
 * Ingress but belongs to the Service port: the first Ingress that uses the port decides for all, by
 * saying nothing too, as in ingress-nginx; first is the oldest one, then by namespace and name. See
 * docs/upstreams.md. */
#include "compile/compile_priv.h"

#define ANNOTATION "nginx.ingress.kubernetes.io/load-balance"

static const struct {
    struct str word;
    enum snap_balance balance;
} words[] = {
    {STR_INIT("round_robin"), SNAP_BALANCE_ROUND_ROBIN},
    {STR_INIT("ewma"),        SNAP_BALANCE_LATENCY    },
    {STR_INIT("least_conn"),  SNAP_BALANCE_LEAST_CONN },
};

enum { WORDS_N = sizeof(words) / sizeof(words[0]) };

static const struct finding invalid_balance = {
    DIAG_WARNING, DIAG_InvalidAnnotation,
    "load-balance is round_robin, ewma or least_conn; round_robin is used",
    "write one of these, or drop the annotation"};

/* False when the value is none of the words. */
static bool balance_parse(struct str value, enum snap_balance *ret)
{
    for (size_t i = 0; i < WORDS_N; i++) {
        if (str_eq(value, words[i].word)) {
            *ret = words[i].balance;
            return true;
        }
    }
    return false;
}

void balance_check(struct compile *c, struct diag_batch *batch, const struct ingress *ingress)
{
    enum snap_balance balance;
    struct str value = annotation_get(ingress, ANNOTATION);
    if (value.n == 0 || balance_parse(value, &balance)) {
        return;
    }
    annotation_field(c, ANNOTATION);
    buf_addf(what_begin(c), "is \"%.*s\"", STR_ARG(shown(value)));
    finding_add(c, batch, &ingress->object, ingress->object.line, &invalid_balance);
}

/* candidate: counts in place of the one of its name; or NULL. */
static const struct ingress_node *first_user(const struct port_node *port,
                                             const struct ingress_node *candidate)
{
    const struct ingress_node *first = candidate;
    for (const struct list *it = port->uses.next; it != &port->uses; it = it->next) {
        const struct use *use = (const void *)((const char *)it - offsetof(struct use, in_port));
        bool counts = use->ingress != NULL && use->ingress->object != NULL &&
                      (candidate == NULL || !ingress_is_same(use->ingress, candidate));
        if (counts && (first == NULL || ingress_cmp(use->ingress, first) < 0)) {
            first = use->ingress;
        }
    }
    return first;
}

static enum snap_balance balance_of(const struct ingress_node *first)
{
    enum snap_balance balance = SNAP_BALANCE_ROUND_ROBIN;
    (void)balance_parse(annotation_get(first->object, ANNOTATION), &balance); /* else the default */
    return balance;
}

/* in says something else than what counts. */
static void tell_conflict(struct compile *c, struct diag_batch *batch, const struct port_node *port,
                          const struct ingress *in, const struct ingress *first)
{
    const struct key *key = &port->node.key;
    annotation_field(c, ANNOTATION);
    buf_addf(what_begin(c), "is \"%.*s\", but Ingress %.*s/%.*s uses port %.*s of Service %.*s too",
             STR_ARG(shown(annotation_get(in, ANNOTATION))), STR_ARG(first->object.namespace_name),
             STR_ARG(first->object.name), STR_ARG(key->part[2]), STR_ARG(key->part[1]));
    finding_add(c, batch, &in->object, in->object.line, &conflict_findings[CONFLICT_balance]);
}

enum snap_balance balance_gather(struct compile *c, struct diag_batch *batch,
                                 const struct port_node *port)
{
    const struct ingress_node *first = first_user(port, NULL);
    if (first == NULL) {
        return SNAP_BALANCE_ROUND_ROBIN;
    }
    enum snap_balance balance = balance_of(first);
    for (const struct list *it = port->uses.next; it != &port->uses; it = it->next) {
        const struct use *use = (const void *)((const char *)it - offsetof(struct use, in_port));
        enum snap_balance other;
        if (use->ingress != NULL &&
            balance_parse(annotation_get(use->ingress->object, ANNOTATION), &other) &&
            other != balance) {
            tell_conflict(c, batch, port, use->ingress->object, first->object);
        }
    }
    return balance;
}

bool balance_is_said(const struct ingress *ingress)
{
    enum snap_balance ignored;
    return balance_parse(annotation_get(ingress, ANNOTATION), &ignored);
}

void balance_judge(struct compile *c, struct diag_batch *batch, const struct port_node *port,
                   const struct ingress_node *candidate)
{
    const struct ingress_node *first = first_user(port, candidate);
    enum snap_balance own;
    if (balance_parse(annotation_get(candidate->object, ANNOTATION), &own) &&
        own != balance_of(first)) {
        tell_conflict(c, batch, port, candidate->object, first->object);
    }
}
