/* What an Ingress that is to be admitted has in common with others: the TLS of its hosts, and the
 * Service ports that it names. Rules and words are the compiler's, which is asked with the
 * candidate in place of the present object of its name.
 *
 * An Ingress that would be overruled is warned: it only lacks the effect that it asks for. One that
 * would overrule another, since it is older and has begun to say something, is refused: it would
 * change the other's traffic. Where it does so already it is warned, as of a path. */
#include "compile/compile_priv.h"

#include "base/mem.h"

#include <stdlib.h>

struct own_link {
    struct tls_link link;
    struct str host; /* in lower case */
};

struct shared {
    struct compile *c;
    struct diag_batch *batch;
    struct ingress_node node; /* the candidate's, tied to nothing */
    struct own_link *links;   /* sorted by host */
    size_t link_n;
    struct arena arena; /* hosts */
};

struct group { /* of links for one host */
    struct own_link *links;
    size_t n;
    struct tls_node name;      /* what these lead to */
    const struct tls_node *at; /* what those of others lead to; NULL: there are none */
};

/* ---- the candidate's names ---- */

static int own_cmp(const void *a, const void *b)
{
    const struct own_link *x = a, *y = b;
    return str_cmp(x->host, y->host);
}

static enum err own_add(struct shared *s, struct str host, uint32_t entry, uint32_t index)
{
    if (!host_is_usable(host) || (host.n == 0 && entry != TLS_OF_RULE)) {
        return E_OK;
    }
    char *lower = arena_alloc(&s->arena, host.n);
    if (lower == NULL) {
        return E_NOMEM;
    }
    for (size_t i = 0; i < host.n; i++) {
        lower[i] = ascii_lower(host.p[i]);
    }
    s->links[s->link_n++] = (struct own_link){
        {.ingress = &s->node, .entry = entry, .host = index},
        str_make(lower, host.n)
    };
    return E_OK;
}

static enum err own_gather(struct shared *s)
{
    const struct ingress *in = s->node.object;
    s->links = mem_calloc(ingress_names_max(in), sizeof(*s->links));
    if (s->links == NULL) {
        return E_NOMEM;
    }
    for (uint32_t i = 0; i < in->tls_n; i++) {
        for (uint32_t k = 0; k < in->tls[i].host_n; k++) {
            TRY(own_add(s, in->tls[i].hosts[k], i, k));
        }
    }
    for (uint32_t i = 0; i < in->rule_n; i++) {
        TRY(own_add(s, in->rules[i].host, TLS_OF_RULE, i));
    }
    if (in->default_backend.type != BACKEND_NONE) {
        TRY(own_add(s, STR_EMPTY, TLS_OF_RULE, in->rule_n));
    }
    if (s->link_n > 1) {
        qsort(s->links, s->link_n, sizeof(*s->links), own_cmp);
    }
    return E_OK;
}

/* ---- those of others ---- */

static bool tls_link_is_sound(const struct tls_link *link)
{
    const struct ingress *in = link->ingress->object;
    struct str host = link->tls->node.key.part[0];
    if (in == NULL) {
        return false;
    }
    if (link->entry != TLS_OF_RULE) {
        return link->entry < in->tls_n && link->host < in->tls[link->entry].host_n &&
               str_eq_nocase(in->tls[link->entry].hosts[link->host], host);
    }
    return link->host < in->rule_n ? str_eq_nocase(in->rules[link->host].host, host)
                                   : link->host == in->rule_n && host.n == 0;
}

/* All that is said about the host, into c->tls_work. */
static enum err links_take(struct shared *s, struct group *g)
{
    struct tls_work *w = &s->c->tls_work;
    const struct list *end = g->at == NULL ? NULL : &g->at->links;
    w->link_n = 0;
    for (const struct list *it = end == NULL ? NULL : end->next; it != end; it = it->next) {
        const struct tls_link *link =
            (const void *)((const char *)it - offsetof(struct tls_link, in_tls));
        if (!ingress_is_same(link->ingress, &s->node) && tls_link_is_sound(link)) {
            TRY(tls_work_add(w, link));
        }
    }
    for (size_t i = 0; i < g->n && ingress_has_names(s->c, s->node.object); i++) {
        g->links[i].link.tls = &g->name;
        TRY(tls_work_add(w, &g->links[i].link));
    }
    tls_work_sort(w);
    return E_OK;
}

/* Of those that have a rule for the host; NULL: none has. */
static const struct ingress_node *oldest_of(const struct shared *s, const struct group *g)
{
    const struct host_node *host = node_find(&s->c->hosts, &g->name.node.key);
    const struct list *end = host == NULL ? NULL : &host->links;
    const struct ingress_node *oldest = NULL;
    for (size_t i = 0; i < g->n; i++) {
        oldest = g->links[i].link.entry == TLS_OF_RULE ? &s->node : oldest;
    }
    for (const struct list *it = end == NULL ? NULL : end->next; it != end; it = it->next) {
        const struct link *link = (const void *)((const char *)it - offsetof(struct link, in_host));
        if (link_is_sound(link) && !ingress_is_same(link->ingress, &s->node) &&
            (oldest == NULL || ingress_cmp(link->ingress, oldest) < 0)) {
            oldest = link->ingress;
        }
    }
    return oldest;
}

/* ---- telling ---- */

struct sorting { /* of what the compiler would tell everybody */
    const struct shared *s;
    const struct diag *last;      /* of the candidate's */
    const struct diag *overruled; /* the first that another one would be told */
};

static bool is_own(const struct shared *s, const struct diag *d)
{
    return str_eq(d->namespace_name, s->node.node.key.part[0]) &&
           str_eq(d->name, s->node.node.key.part[1]);
}

/* In order, so that what is told twice comes one after the other. */
static void on_own(void *arg, const struct diag *d)
{
    struct sorting *sorting = arg;
    const struct diag *last = sorting->last;
    bool is_known = last != NULL && last->reason == d->reason && str_eq(last->field, d->field) &&
                    str_eq(last->what, d->what);
    if (is_own(sorting->s, d) && !is_known) {
        sorting->last = d;
        diag_batch_add(sorting->s->batch, d);
    }
}

static void on_overruled(void *arg, const struct diag *d)
{
    struct sorting *sorting = arg;
    if (sorting->overruled == NULL && !is_own(sorting->s, d) &&
        d->reason == DIAG_AnnotationConflict) {
        sorting->overruled = d;
    }
}

static void overruled_tell(const struct shared *s, struct str host, const struct diag *d,
                           enum diag_severity severity)
{
    const struct finding f = {severity, d->reason,
                              "TLS is settled for a whole host, the oldest Ingress of the host "
                              "decides, and this is the oldest; it changes what clients of the "
                              "other one get",
                              "change that Ingress first, or use another host"};
    const struct object *o = &s->node.object->object;
    buf_reset(&s->c->field);
    buf_add_str(&s->c->field, d->field);
    buf_addf(what_begin(s->c), "decides for host \"%.*s\" against Ingress %.*s/%.*s", STR_ARG(host),
             STR_ARG(d->namespace_name), STR_ARG(d->name));
    finding_add(s->c, s->batch, o, o->line, &f);
}

/* told: by the compiler. One that is overruled stands for all of the host. */
static enum err settle(const struct shared *s, struct diag_batch *told, const struct group *g,
                       bool is_decider)
{
    struct sorting present = {.s = s}, fresh = {.s = s};
    struct list none;
    list_init(&none);
    diag_batch_tell(told, on_own, &present);
    if (is_decider) {
        diag_batch_tell(told, on_overruled, &present);
        diag_batch_tell_added(told, g->at == NULL ? &none : &g->at->node.diags, on_overruled,
                              &fresh);
    }
    if (present.overruled != NULL) {
        bool is_new = fresh.overruled != NULL;
        overruled_tell(s, g->name.node.key.part[0], is_new ? fresh.overruled : present.overruled,
                       is_new ? DIAG_ERROR : DIAG_WARNING);
    }
    enum err e = told->err;
    diag_batch_drop(told);
    return e;
}

/* ---- hosts ---- */

static enum err passthrough_look(const struct shared *s, const struct group *g)
{
    const struct ingress_node *oldest = oldest_of(s, g);
    struct diag_batch told;
    char digits[U16_DIGITS];
    struct key ignored;
    if (oldest == NULL || !passthrough_is_for(s->c, g->name.node.key.part[0])) {
        return E_OK;
    }
    diag_batch_init(&told);
    (void)passthrough_decide(s->c, &told, oldest, digits, &ignored); /* what it tells is asked */
    return settle(s, &told, g, oldest == &s->node);
}

static enum err client_auth_look(const struct shared *s, const struct group *g)
{
    struct diag_batch told;
    struct client_auth ignored;
    diag_batch_init(&told);
    const struct ingress *first = client_auth_find(s->c, &told, &ignored);
    return settle(s, &told, g, first == s->node.object);
}

static enum err group_judge(struct shared *s, struct group *g)
{
    TRY(links_take(s, g));
    TRY(passthrough_look(s, g));
    return client_auth_look(s, g);
}

static enum err hosts_judge(struct shared *s)
{
    TRY(own_gather(s));
    for (size_t i = 0, n = 0; i < s->link_n; i += n) {
        for (n = 1; i + n < s->link_n && own_cmp(&s->links[i], &s->links[i + n]) == 0;) {
            n++;
        }
        struct group g = {.links = s->links + i, .n = n};
        g.name.node.key.part[0] = s->links[i].host;
        g.at = node_find(&s->c->tls, &g.name.node.key);
        TRY(group_judge(s, &g));
    }
    return E_OK;
}

/* ---- Service ports ---- */

struct ports { /* that others use too */
    const struct port_node **items;
    size_t n;
};

static void port_add(const struct shared *s, struct ports *ports, const struct key *key)
{
    const struct port_node *port = node_find(&s->c->ports, key);
    if (port != NULL) {
        ports->items[ports->n++] = port;
    }
}

static void ports_of_place(const struct shared *s, struct ports *ports, struct place place,
                           const struct variants *v)
{
    const struct ingress *in = s->node.object;
    const struct ingress_backend *b = place_backend(in, place);
    char digits[U16_DIGITS];
    if (!backend_is_service(b)) {
        return;
    }
    struct key key = {
        {in->object.namespace_name, b->service, backend_port(b, digits), v->plain}
    };
    port_add(s, ports, &key);
    key.part[3] = v->secure;
    if (v->secure.n > 0) {
        port_add(s, ports, &key);
    }
}

static enum err ports_gather(const struct shared *s, const struct variants *v, struct ports *ports)
{
    const struct ingress *in = s->node.object;
    size_t most = 2;
    char digits[U16_DIGITS];
    struct place place = place_first();
    struct key key;
    for (uint32_t i = 0; i < in->rule_n; i++) {
        most += (size_t)in->rules[i].path_n * 2 + 1;
    }
    ports->items = mem_calloc(most, sizeof(*ports->items));
    if (ports->items == NULL) {
        return E_NOMEM;
    }
    do {
        ports_of_place(s, ports, place, v);
    } while (place_next(in, &place));
    for (uint32_t i = 0; i < in->rule_n; i++) {
        if (passthrough_key(s->c, in, i, digits, &place, &key)) {
            port_add(s, ports, &key);
        }
    }
    return E_OK;
}

static int port_cmp(const void *a, const void *b)
{
    const struct port_node *x = *(const struct port_node *const *)a;
    const struct port_node *y = *(const struct port_node *const *)b;
    return (x > y) - (x < y);
}

static enum err ports_settle(const struct shared *s, struct ports *ports)
{
    struct diag_batch told;
    diag_batch_init(&told);
    if (ports->n > 1) {
        qsort(ports->items, ports->n, sizeof(*ports->items), port_cmp);
    }
    for (size_t i = 0; i < ports->n; i++) {
        if (i == 0 || ports->items[i] != ports->items[i - 1]) {
            balance_judge(s->c, &told, ports->items[i], &s->node);
        }
    }
    return settle(s, &told, NULL, false);
}

static enum err ports_judge(const struct shared *s)
{
    struct ports ports = {0};
    struct variants v;
    struct buf text;
    if (!balance_is_said(s->node.object)) {
        return E_OK;
    }
    buf_init(&text, SNAPSHOT_SHARD_BYTES_MAX);
    enum err e = variants_get(s->node.object, &text, &v) ? ports_gather(s, &v, &ports) : E_NOMEM;
    if (e == E_OK) {
        e = ports_settle(s, &ports);
    }
    mem_free(ports.items);
    buf_fini(&text);
    return e;
}

/* ---- the whole ---- */

enum err judge_shared(struct compile *c, struct diag_batch *batch, const struct ingress *in)
{
    struct shared s = {
        .c = c,
        .batch = batch,
        .node = {.node.key = {{in->object.namespace_name, in->object.name}}, .object = in},
    };
    c->tls_work = (struct tls_work){0}; /* the compiler's is not ours to change */
    arena_init(&s.arena, SIZE_MAX / 2);
    enum err e = hosts_judge(&s);
    if (e == E_OK) {
        e = ports_judge(&s);
    }
    mem_free(c->tls_work.links);
    c->tls_work = (struct tls_work){0};
    mem_free(s.links);
    arena_fini(&s.arena);
    return e;
}
