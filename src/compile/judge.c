/* One Ingress that is not in the store: what would be said of it. For the admission webhook, so it
 * is done on a copy of the compiler with working space of its own, and looks at nothing but the
 * candidate and the Ingresses on the same hosts.
 *
 * Conflicts of paths are judged more strictly than the compiler does: there the oldest Ingress
 * wins; here the one that wants to come (or to take one more path) is refused, whatever its age,
 * as ingress-nginx does. What the present object of the same name has already is not held against
 * it: otherwise an Ingress that conflicts could not even be changed to end that. */
#include "compile/compile_priv.h"

#include "base/mem.h"

#include <stdlib.h>

#define CANARY "nginx.ingress.kubernetes.io/canary"

static const struct finding path_taken = {
    DIAG_ERROR, DIAG_PathConflict,
    "host, path and type may stand in one Ingress only, and in one canary beside it",
    "use another host or path, or change that Ingress"};
static const struct finding path_still_taken = {
    DIAG_WARNING, DIAG_PathConflict,
    "of the same host, path and type the oldest Ingress counts, with equal age the first by "
    "namespace and name",
    "use another path or remove one of the two"};
static const struct finding path_twice = {DIAG_ERROR, DIAG_PathConflict,
                                          "of the same host, path and type the first one counts",
                                          "remove one of the two"};
static const struct finding no_service = {
    DIAG_WARNING, DIAG_ServiceNotFound,
    "until the Service is there, in the namespace of the Ingress, requests to it are answered with "
    "503",
    "create the Service or correct the name"};
static const struct finding no_port = {
    DIAG_WARNING, DIAG_PortNotFound,
    "a backend names one of the Service's TCP ports; until it has that port, requests to it are "
    "answered with 503",
    "write the number or name of one of the Service's ports"};

struct own { /* a path of the candidate */
    struct str host, path, written;
    struct place place;
    bool is_exact;
    bool was_there; /* the present object of this name has it */
    const struct ingress *taken_by;
    struct place taken_at;
};

struct judge {
    struct compile view; /* a copy: its lists must not be touched */
    struct diag_batch batch;
    const struct ingress *candidate;
    struct own *paths; /* sorted by own_cmp() */
    size_t path_n;
    struct arena arena; /* hosts and paths */
    bool is_canary;
};

/* ---- the candidate's paths ---- */

static int own_key_cmp(const struct own *a, const struct own *b)
{
    int order = str_cmp(a->host, b->host);
    order = order != 0 ? order : str_cmp(a->path, b->path);
    return order != 0 ? order : (int)a->is_exact - (int)b->is_exact;
}

static int own_cmp(const void *x, const void *y)
{
    const struct own *a = x, *b = y;
    int order = own_key_cmp(a, b);
    if (order == 0 && a->place.rule != b->place.rule) {
        return a->place.rule < b->place.rule ? -1 : 1;
    }
    return order != 0 ? order : a->place.path < b->place.path ? -1 : 1;
}

static enum err host_lower(struct judge *j, struct str host, struct str *ret)
{
    char *lower = arena_alloc(&j->arena, host.n);
    if (lower == NULL) {
        return E_NOMEM;
    }
    for (size_t i = 0; i < host.n; i++) {
        lower[i] = ascii_lower(host.p[i]);
    }
    *ret = str_make(lower, host.n);
    return E_OK;
}

static enum err own_path_add(struct judge *j, struct str host, uint32_t rule, uint32_t index)
{
    const struct ingress_path *path = &j->candidate->rules[rule].paths[index];
    struct own own = {
        .host = host,
        .written = path->path,
        .place = {rule, index},
        .is_exact = path->type == PATH_EXACT
    };
    enum err e = path_normalize(&j->arena, path, &own.path);
    if (e == E_PROTO) {
        place_field(&j->view, own.place, ".path");
        buf_addf(what_begin(&j->view), "is \"%.*s\"", STR_ARG(shown(path->path)));
        finding_add(&j->view, &j->batch, &j->candidate->object, place_line(j->candidate, own.place),
                    &path_is_invalid);
        return E_OK;
    }
    TRY(e);
    j->paths[j->path_n++] = own;
    return E_OK;
}

static enum err own_rule_add(struct judge *j, uint32_t rule)
{
    const struct ingress *in = j->candidate;
    struct str host;
    TRY(host_lower(j, in->rules[rule].host, &host));
    if (in->rules[rule].path_n == 0 && in->default_backend.type != BACKEND_NONE) {
        j->paths[j->path_n++] = (struct own){
            .host = host,
            .path = STR_EMPTY,
            .written = STR_EMPTY,
            .place = {rule, SNAP_DEFAULT_RULE}
        };
    }
    for (uint32_t i = 0; i < in->rules[rule].path_n; i++) {
        TRY(own_path_add(j, host, rule, i));
    }
    return E_OK;
}

static enum err own_gather(struct judge *j)
{
    const struct ingress *in = j->candidate;
    size_t room = 1;
    for (uint32_t i = 0; i < in->rule_n; i++) {
        room += in->rules[i].path_n + (size_t)1;
    }
    j->paths = mem_calloc(room, sizeof(*j->paths));
    if (j->paths == NULL) {
        return E_NOMEM;
    }
    for (uint32_t i = 0; i < in->rule_n; i++) {
        if (host_is_usable(in->rules[i].host)) {
            TRY(own_rule_add(j, i));
        }
    }
    if (j->path_n > 1) {
        qsort(j->paths, j->path_n, sizeof(*j->paths), own_cmp);
    }
    return E_OK;
}

/* ---- the others on the same hosts ---- */

static bool ingress_is_canary(const struct ingress *in)
{
    return str_eq(annotation_get(in, CANARY), STR("true"));
}

static bool is_same_name(const struct ingress *a, const struct ingress *b)
{
    return str_eq(a->object.name, b->object.name) &&
           str_eq(a->object.namespace_name, b->object.namespace_name);
}

static bool is_before(const struct ingress *a, const struct ingress *b)
{
    const struct ingress_node x = {
        .node.key.part = {a->object.namespace_name, a->object.name},
          .object = a
    };
    const struct ingress_node y = {
        .node.key.part = {b->object.namespace_name, b->object.name},
          .object = b
    };
    return ingress_cmp(&x, &y) < 0;
}

static void own_take(struct judge *j, struct own *own, const struct ingress *other,
                     struct place place)
{
    if (is_same_name(other, j->candidate)) {
        own->was_there = true;
        return;
    }
    /* One of the two may be a canary of the other. */
    bool is_conflict = j->is_canary == ingress_is_canary(other);
    if (is_conflict && (own->taken_by == NULL || is_before(other, own->taken_by))) {
        own->taken_by = other;
        own->taken_at = place;
    }
}

static enum err other_path_look(struct judge *j, struct str host, const struct ingress *other,
                                struct place place)
{
    static const struct ingress_path whole = {.path = STR_INIT(""),
                                              .type = PATH_IMPLEMENTATION_SPECIFIC};
    const struct ingress_path *path =
        place.path == SNAP_DEFAULT_RULE ? &whole : &other->rules[place.rule].paths[place.path];
    struct own key = {.host = host, .is_exact = path->type == PATH_EXACT};
    enum err e = path_normalize(&j->arena, path, &key.path);
    if (e == E_PROTO) {
        return E_OK; /* it is not served */
    }
    TRY(e);
    size_t low = 0, high = j->path_n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (own_key_cmp(&j->paths[middle], &key) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low < j->path_n && own_key_cmp(&j->paths[low], &key) == 0) {
        own_take(j, &j->paths[low], other, place);
    }
    return E_OK;
}

bool link_is_sound(const struct link *link)
{
    const struct ingress *in = link->ingress->object;
    return in != NULL && (link->rule == SNAP_DEFAULT_RULE ||
                          (link->rule < in->rule_n && str_eq_nocase(in->rules[link->rule].host,
                                                                    link->host->node.key.part[0])));
}

static enum err link_look(struct judge *j, const struct link *link)
{
    const struct ingress *other = link->ingress->object;
    struct str host = link->host->node.key.part[0];
    if (link->rule == SNAP_DEFAULT_RULE) {
        return E_OK;
    }
    uint32_t path_n = other->rules[link->rule].path_n;
    if (path_n == 0 && other->default_backend.type != BACKEND_NONE) {
        return other_path_look(j, host, other, (struct place){link->rule, SNAP_DEFAULT_RULE});
    }
    for (uint32_t i = 0; i < path_n; i++) {
        TRY(other_path_look(j, host, other, (struct place){link->rule, i}));
    }
    return E_OK;
}

/* Which Ingress' default backend the host would have instead of the candidate's; NULL: none. */
static void default_look(struct judge *j, const struct link *link, const struct ingress **first)
{
    const struct ingress *other = link->ingress->object;
    if (j->candidate->default_backend.type == BACKEND_NONE || is_same_name(other, j->candidate) ||
        other->default_backend.type == BACKEND_NONE || !is_before(other, j->candidate)) {
        return;
    }
    if (*first == NULL || is_before(other, *first)) {
        *first = other;
    }
}

static void default_tell(struct judge *j, struct str host, const struct ingress *first)
{
    struct place place = place_first();
    if (first == NULL || default_is_same(first, j->candidate)) {
        return;
    }
    place_field(&j->view, place, "");
    buf_addf(what_begin(&j->view), "for host \"%.*s\" Ingress %.*s/%.*s sets another one",
             STR_ARG(host), STR_ARG(first->object.namespace_name), STR_ARG(first->object.name));
    finding_add(&j->view, &j->batch, &j->candidate->object, place_line(j->candidate, place),
                &conflict_findings[CONFLICT_default_backend]);
}

static enum err host_look(struct judge *j, struct str host)
{
    const struct host_node *node = node_find(&j->view.hosts, &(struct key){{host}});
    const struct ingress *first = NULL;
    if (node == NULL) {
        return E_OK;
    }
    for (const struct list *it = node->links.next; it != &node->links; it = it->next) {
        const struct link *link = (const void *)((const char *)it - offsetof(struct link, in_host));
        if (link_is_sound(link)) {
            TRY(link_look(j, link));
            default_look(j, link, &first);
        }
    }
    default_tell(j, host, first);
    return E_OK;
}

static enum err others_look(struct judge *j)
{
    for (size_t i = 0; i < j->path_n; i++) {
        if (i == 0 || !str_eq(j->paths[i].host, j->paths[i - 1].host)) {
            TRY(host_look(j, j->paths[i].host));
        }
    }
    return j->candidate->rule_n == 0 ? host_look(j, STR_EMPTY) : E_OK;
}

/* ---- telling ---- */

static void taken_tell(struct judge *j, const struct own *own, const struct ingress *other,
                       struct place at, const struct finding *f)
{
    struct compile *c = &j->view;
    struct buf *what = what_begin(c);
    struct str written = own->written.n == 0 ? STR("/") : shown(own->written);
    place_field(c, at, "");
    buf_addf(what, "\"%.*s\" (%s) of host \"%.*s\" is already defined in ", STR_ARG(written),
             own->is_exact ? "Exact" : "Prefix", STR_ARG(own->host));
    if (other == NULL) {
        buf_addf(what, "%.*s of the same Ingress", STR_ARG(buf_str(&c->field)));
    } else {
        buf_addf(what, "Ingress %.*s/%.*s, %.*s", STR_ARG(other->object.namespace_name),
                 STR_ARG(other->object.name), STR_ARG(buf_str(&c->field)));
    }
    place_field(c, own->place, own->place.path == SNAP_DEFAULT_RULE ? "" : ".path");
    finding_add(c, &j->batch, &j->candidate->object, place_line(j->candidate, own->place), f);
}

static void paths_tell(struct judge *j)
{
    const struct own *first = j->paths; /* of those that are equal */
    for (const struct own *own = j->paths; own < j->paths + j->path_n; own++) {
        if (own > first && own_key_cmp(own, first) == 0) {
            taken_tell(j, own, NULL, first->place, &path_twice);
            continue;
        }
        first = own;
        if (own->taken_by != NULL) {
            taken_tell(j, own, own->taken_by, own->taken_at,
                       own->was_there ? &path_still_taken : &path_taken);
        }
    }
}

/* ---- backends ---- */

struct told { /* Services that were complained about, so that each is told once */
    struct {
        struct str service, port;
    } items[DIAGNOSTICS_PER_OBJECT_MAX];
    size_t n;
};

static bool told_add(struct told *t, struct str service, struct str port)
{
    for (size_t i = 0; i < t->n; i++) {
        if (str_eq(t->items[i].service, service) && str_eq(t->items[i].port, port)) {
            return false;
        }
    }
    if (t->n == DIAGNOSTICS_PER_OBJECT_MAX) {
        return false;
    }
    t->items[t->n].service = service;
    t->items[t->n++].port = port;
    return true;
}

/* What the port of a Service without a list of ports is, Endpoints tell; ExternalNames take any. */
static bool service_has_port(const struct service *service, struct str port)
{
    return service->port_n == 0 || service->type == SERVICE_EXTERNAL_NAME ||
           service_find_port(service, port) != NULL;
}

static void service_judge(struct judge *j, struct told *told, struct place place)
{
    struct compile *c = &j->view;
    const struct ingress *in = j->candidate;
    const struct ingress_backend *b = place_backend(in, place);
    struct str space = in->object.namespace_name;
    char digits[U16_DIGITS];
    struct str port = backend_port(b, digits);
    const struct service *service = (const struct service *)(const void *)store_get(
        c->store, OBJECT_SERVICE, space, b->service);
    if (service != NULL && service_has_port(service, port)) {
        return;
    }
    /* Numbers are told once for each Service: their text does not last. */
    if (!told_add(told, b->service, b->port.number != 0 ? STR_EMPTY : b->port.name)) {
        return;
    }
    bool is_default = place.rule == SNAP_DEFAULT_RULE;
    place_field(c, place, is_default ? "" : ".backend");
    buf_addf(&c->field, ".service.%s", service == NULL ? "name" : "port");
    if (service == NULL) {
        buf_addf(what_begin(c), "there is no Service %.*s/%.*s", STR_ARG(space),
                 STR_ARG(b->service));
    } else {
        buf_addf(what_begin(c), "Service %.*s/%.*s has no TCP port \"%.*s\"", STR_ARG(space),
                 STR_ARG(b->service), STR_ARG(port));
    }
    finding_add(c, &j->batch, &in->object, place_line(in, place),
                service == NULL ? &no_service : &no_port);
}

static void backends_judge(struct judge *j)
{
    struct told told = {.n = 0};
    struct place place = place_first();
    do {
        if (backend_is_service(place_backend(j->candidate, place))) {
            service_judge(j, &told, place);
        }
    } while (place_next(j->candidate, &place));
}

/* ---- the whole ---- */

static enum err judge(struct judge *j)
{
    struct class_verdict verdict = class_judge(&j->view, j->candidate);
    if (!verdict.is_ours) {
        return E_OK;
    }
    class_check(&j->view, &j->batch, j->candidate, &verdict);
    ingress_check(&j->view, &j->batch, j->candidate);
    TRY(own_gather(j));
    TRY(others_look(j));
    paths_tell(j);
    backends_judge(j);
    TRY(judge_shared(&j->view, &j->batch, j->candidate));
    TRY(judge_tls(&j->view, &j->batch, j->candidate));
    judge_nginx(&j->view, &j->batch, j->candidate);
    return j->batch.err;
}

enum err compile_judge(const struct compile *c, const struct ingress *candidate, diag_fn *fn,
                       void *arg)
{
    enum { TEXT_BYTES_MAX = 64 << 10 };
    struct judge j = {.view = *c, .candidate = candidate};
    j.is_canary = ingress_is_canary(candidate);
    buf_init(&j.view.field, TEXT_BYTES_MAX);
    buf_init(&j.view.what, TEXT_BYTES_MAX);
    arena_init(&j.arena, SIZE_MAX / 2);
    diag_batch_init(&j.batch);
    enum err e = judge(&j);
    if (e == E_OK) {
        diag_batch_tell(&j.batch, fn, arg);
    }
    diag_batch_drop(&j.batch);
    mem_free(j.paths);
    arena_fini(&j.arena);
    buf_fini(&j.view.field);
    buf_fini(&j.view.what);
    return e;
}
