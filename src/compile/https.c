/* Which hosts have TLS, by what Ingresses say alone: whether a certificate can be had is asked
 * elsewhere, so that a host does not fall back to plain HTTP when its Secret is gone.
 *
 * Our own class goes by the specification: an entry of spec.tls counts for the hosts that it lists,
 * with their wildcards, and one that lists none for all of its Ingress. Source:
 * networking.k8s.io/v1 IngressTLS.hosts.
 *
 * In ingress-nginx' class any entry counts for every host of its Ingress, listed or not, and what a
 * wildcard host has the hosts below it have too, in whatever Ingress they are: that is how it looks
 * certificates up. The host "" has none there: no certificate is ever looked up by that name. */
#include "compile/compile_priv.h"

#include "base/buf.h"
#include "base/mem.h"

#include <stdlib.h>

const struct https_policy https_policy_default = {
    .is_redirecting = true,
    .redirect_status = 308,
    .plain_paths = {STR_INIT("/.well-known/acme-challenge")},
    .plain_path_n = 1,
    .has_hsts = true,
    .hsts_max_age_s = 31536000,
};

const struct https_policy *https_policy(const struct compile *c)
{
    return &c->config.https;
}

bool https_is_redirect(uint64_t status)
{
    return status == 301 || status == 302 || status == 307 || status == 308;
}

/* ---- one Ingress ---- */

static int name_cmp(const void *a, const void *b)
{
    struct str x = *(const struct str *)a, y = *(const struct str *)b;
    size_t n = x.n < y.n ? x.n : y.n;
    for (size_t i = 0; i < n; i++) {
        int order = ascii_lower(x.p[i]) - ascii_lower(y.p[i]);
        if (order != 0) {
            return order;
        }
    }
    return x.n < y.n ? -1 : x.n > y.n;
}

struct names { /* that spec.tls lists, sorted */
    struct str *items;
    size_t n;
    bool has_all; /* an entry lists none */
};

static enum err names_gather(const struct ingress *in, struct names *ret)
{
    struct names names = {0};
    for (uint32_t i = 0; i < in->tls_n; i++) {
        names.n += in->tls[i].host_n;
        names.has_all |= in->tls[i].host_n == 0;
    }
    names.items = mem_calloc(names.n + 1, sizeof(*names.items));
    if (names.items == NULL) {
        return E_NOMEM;
    }
    struct str *to = names.items;
    for (uint32_t i = 0; i < in->tls_n; i++) {
        for (uint32_t j = 0; j < in->tls[i].host_n; j++) {
            *to++ = in->tls[i].hosts[j];
        }
    }
    qsort(names.items, names.n, sizeof(*names.items), name_cmp);
    *ret = names;
    return E_OK;
}

static bool names_have(const struct names *names, struct str name)
{
    return bsearch(&name, names->items, names->n, sizeof(name), name_cmp) != NULL;
}

/* "*.example.com" for "a.example.com"; empty when no wildcard covers it. pattern is usable, which
 * bounds it. */
static struct str wildcard_of(struct str pattern, char room[SNAP_HOST_BYTES_MAX])
{
    struct wr w = wr_make(room, SNAP_HOST_BYTES_MAX);
    size_t dot = str_find(pattern, '.');
    if (dot < pattern.n && !str_has_prefix(pattern, STR("*."))) {
        wr_char(&w, '*');
        wr_str(&w, str_from(pattern, dot));
    }
    must(!w.bad); /* a label has a byte, too */
    return str_make(room, wr_n(&w));
}

static bool names_cover(const struct names *names, struct str pattern)
{
    char room[SNAP_HOST_BYTES_MAX];
    struct str wildcard = wildcard_of(pattern, room);
    return names->has_all || names_have(names, pattern) ||
           (wildcard.n > 0 && names_have(names, wildcard));
}

static enum err links_by_names(struct ingress_node *n)
{
    struct names names;
    TRY(names_gather(n->object, &names));
    for (uint32_t i = 0; i < n->link_n; i++) {
        n->links[i].has_tls = names_cover(&names, n->links[i].host->node.key.part[0]);
    }
    mem_free(names.items);
    return E_OK;
}

enum err https_uncovered(const struct ingress *in, uint32_t *ret_rule)
{
    struct names names;
    uint32_t i = in->tls_n == 0 ? in->rule_n : 0;
    TRY(names_gather(in, &names));
    while (i < in->rule_n &&
           (!host_is_usable(in->rules[i].host) || names_cover(&names, in->rules[i].host))) {
        i++;
    }
    mem_free(names.items);
    *ret_rule = i;
    return E_OK;
}

enum err https_links(const struct compile *c, struct ingress_node *n)
{
    if (n->object->tls_n == 0) {
        return E_OK;
    }
    if (!class_is_nginx(c)) {
        return links_by_names(n);
    }
    for (uint32_t i = 0; i < n->link_n; i++) {
        n->links[i].has_tls = n->links[i].host->node.key.part[0].n > 0;
    }
    return E_OK;
}

/* ---- one host ---- */

static bool has_own_tls(const struct host_node *host)
{
    for (const struct list *it = host->links.next; it != &host->links; it = it->next) {
        const struct link *link = (const void *)((const char *)it - offsetof(struct link, in_host));
        if (link->has_tls) {
            return true;
        }
    }
    return false;
}

/* NULL: there is none. */
static const struct host_node *wildcard_find(const struct compile *c, const struct host_node *host)
{
    char room[SNAP_HOST_BYTES_MAX];
    struct str wildcard = wildcard_of(host->node.key.part[0], room);
    return wildcard.n == 0 ? NULL : node_find(&c->hosts, &(struct key){{wildcard}});
}

bool https_host(const struct compile *c, const struct host_node *host)
{
    if (has_own_tls(host) || !class_is_nginx(c)) {
        return has_own_tls(host);
    }
    const struct host_node *wildcard = wildcard_find(c, host);
    return wildcard != NULL && has_own_tls(wildcard);
}

/* ---- what a wildcard says of other hosts ---- */

static void mark_below(struct compile *c, const struct host_node *wildcard)
{
    map_each(slot, &c->hosts)
    {
        struct host_node *host = slot->value;
        if (wildcard_find(c, host) == wildcard) {
            node_mark(&c->dirty_hosts, &host->node);
        }
    }
}

void https_spread(struct compile *c)
{
    struct list *end = &c->dirty_hosts;
    if (!class_is_nginx(c)) {
        return;
    }
    for (struct list *it = end->next; it != end; it = it->next) { /* it grows at its end */
        struct node *n = container_of(it, struct node, dirty);
        struct host_node *host = container_of(n, struct host_node, node);
        bool covers = str_has_prefix(n->key.part[0], STR("*.")) && has_own_tls(host);
        if (covers != host->covers_tls) {
            host->covers_tls = covers;
            mark_below(c, host);
        }
    }
}
