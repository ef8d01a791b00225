/* One host: from the rules that add to it to its shard. */
#include "compile/compile_priv.h"

static const struct finding host_too_large = {
    DIAG_ERROR, DIAG_LimitReached,
    "the routes of one host take at most 64 MiB; the host is not served",
    "use fewer or shorter paths"};

static bool is_used(const struct compile *c, const struct host_node *host)
{
    return host == c->any_host || !list_is_empty(&host->links);
}

static bool has_routes(const struct compile *c, const struct host_node *host)
{
    return c->host.candidate_n > 0 || c->host.fallback != NULL ||
           (host == c->any_host && c->default_use.port != NULL);
}

/* Told to the newest Ingress of the host: the older ones were there before it got too large. */
static void tell_too_large(struct compile *c, struct diag_batch *batch)
{
    const struct link *last = c->host.links[c->host.link_n - 1];
    const struct ingress *in = last->ingress->object;
    struct place place = {last->rule, SNAP_DEFAULT_RULE};
    place_field(c, place, "");
    buf_addf(what_begin(c), "the host \"%.*s\" has %zu routes",
             STR_ARG(last->host->node.key.part[0]), c->host.candidate_n);
    finding_add(c, batch, &in->object, place_line(in, place), &host_too_large);
}

static enum err host_output(struct compile *c, struct host_node *host, struct diag_batch *batch)
{
    bool has_shard = has_routes(c, host);
    if (has_shard) {
        enum err e = host_write(c, host);
        if (e == E_LIMIT && c->host.link_n > 0) {
            tell_too_large(c, batch);
            has_shard = false;
            e = E_OK;
        }
        TRY(e);
    }
    TRY(batch->err);
    if (has_shard) {
        return product_emit(c, &host->node.product);
    }
    buf_reset(&c->key);
    buf_addf(&c->key, "ingress/%.*s", STR_ARG(host->node.key.part[0]));
    return product_delete(c, &host->node.product, SNAP_HOST);
}

enum err host_compile(struct compile *c, struct host_node *host)
{
    struct diag_batch batch;
    diag_batch_init(&batch);
    c->host.has_tls = https_host(c, host);
    enum err e = host_gather(c, host, &batch);
    if (e == E_OK) {
        e = host_output(c, host, &batch);
    }
    arena_fini(&c->host.paths);
    if (e != E_OK) {
        diag_batch_drop(&batch);
        return e;
    }
    diag_batch_commit(&batch, c->book, &host->node.diags);
    list_del(&host->node.dirty);
    if (!is_used(c, host)) {
        node_free(&c->hosts, &host->node);
    }
    return E_OK;
}
