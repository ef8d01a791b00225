/* The compiler as a whole: its life, and one run over what is dirty. */
#include "compile/compile_priv.h"

#include "base/limits.h"
#include "base/mem.h"

/* ---- life ---- */

static void records_init(struct compile *c)
{
    list_init(&c->dirty_ingresses);
    list_init(&c->dirty_hosts);
    list_init(&c->dirty_ports);
    list_init(&c->dirty_secrets);
    list_init(&c->dirty_keys);
    list_init(&c->dirty_tls);
    list_init(&c->classless);
    list_init(&c->config_diags);
    buf_init(&c->shard, SNAPSHOT_SHARD_BYTES_MAX);
    buf_init(&c->key, SNAPSHOT_SHARD_BYTES_MAX);
    buf_init(&c->field, SNAPSHOT_SHARD_BYTES_MAX);
    buf_init(&c->what, SNAPSHOT_SHARD_BYTES_MAX);
    arena_init(&c->host.paths, SIZE_MAX / 2);
}

enum err compile_new(struct store *store, const struct compile_options *options,
                     struct compile **ret)
{
    struct compile *c = mem_calloc(1, sizeof(*c));
    struct diag_book *book = c == NULL ? NULL : mem_calloc(1, sizeof(*book));
    if (book == NULL) {
        mem_free(c);
        return E_NOMEM;
    }
    c->store = store;
    c->options = options;
    c->book = book;
    diag_book_init(book);
    records_init(c);
    c->has_missed = true; /* the first run takes in what is there */
    c->is_config_dirty = true;
    (void)class_default_refresh(c);
    store_listen(store, &c->listener, index_change, c);
    *ret = c;
    return E_OK;
}

static void nodes_free(struct map *m)
{
    map_each(slot, m)
    {
        struct node *n = slot->value;
        diag_owner_clear(&n->diags);
        mem_free(n);
    }
    map_fini(m);
}

static void ingresses_free(struct map *m)
{
    map_each(slot, m)
    {
        struct ingress_node *n = slot->value;
        mem_free(n->links);
        mem_free(n->uses);
        mem_free(n->secrets);
        mem_free(n->names);
        buf_fini(&n->variant_text);
    }
    nodes_free(m);
}

static void secrets_free(struct map *m)
{
    map_each(slot, m)
    {
        mem_free(((struct secret_node *)slot->value)->certificate);
    }
    nodes_free(m);
}

static void work_free(struct compile *c)
{
    struct buf *bufs[] = {&c->shard, &c->key, &c->field, &c->what};
    for (size_t i = 0; i < sizeof(bufs) / sizeof(bufs[0]); i++) {
        buf_fini(bufs[i]);
    }
    mem_free(c->host.links);
    mem_free(c->host.candidates);
    mem_free(c->host.filters);
    arena_fini(&c->host.paths);
    mem_free(c->service.endpoints.items);
    mem_free(c->service.terminating.items);
    mem_free(c->tls_work.links);
}

void compile_free(struct compile *c)
{
    if (c == NULL) {
        return;
    }
    store_unlisten(&c->listener);
    diag_owner_clear(&c->config_diags);
    ingresses_free(&c->ingresses);
    nodes_free(&c->classes);
    nodes_free(&c->hosts);
    nodes_free(&c->services);
    nodes_free(&c->ports);
    nodes_free(&c->names);
    secrets_free(&c->secrets);
    nodes_free(&c->keys);
    nodes_free(&c->tls);
    work_free(c);
    mem_free(c->book);
    mem_free(c);
}

/* ---- a run ---- */

/* The host "" and what the options add to it. */
static enum err any_host_start(struct compile *c)
{
    if (c->any_host != NULL) {
        return E_OK;
    }
    struct host_node *host = host_make(c, STR_EMPTY);
    if (host == NULL) {
        return E_NOMEM;
    }
    if (c->options->default_service.n > 0) {
        const struct key key = {
            {c->options->default_namespace, c->options->default_service}
        };
        struct port_node *port = port_make(c, &key);
        if (port == NULL) {
            return E_NOMEM; /* the host stays, unused, for the next try */
        }
        c->default_use = (struct use){.port = port};
        list_append(&port->uses, &c->default_use.in_port);
        node_mark(&c->dirty_ports, &port->node);
    }
    c->any_host = host;
    node_mark(&c->dirty_hosts, &host->node);
    return E_OK;
}

/* The name "" of handshakes, and the certificates that it has besides those of Ingresses. */
static enum err any_tls_start(struct compile *c)
{
    const struct compile_options *o = c->options;
    if (c->any_tls != NULL) {
        return E_OK;
    }
    struct tls_node *tls = tls_make(c, STR_EMPTY);
    if (tls == NULL) {
        return E_NOMEM;
    }
    c->default_certificate =
        (struct secret_use){.role = SECRET_CERTIFICATE, .annotation = "default-ssl-certificate"};
    if (o->default_certificate.n > 0) {
        TRY(secret_use(c, o->default_certificate_namespace, o->default_certificate,
                       &c->default_certificate));
    }
    c->ticket_keys =
        (struct secret_use){.role = SECRET_TICKETS, .annotation = "ssl-session-ticket-secret"};
    if (o->ticket_secret.n > 0) {
        TRY(secret_use(c, o->ticket_secret_namespace, o->ticket_secret, &c->ticket_keys));
    }
    c->any_tls = tls;
    node_mark(&c->dirty_tls, &tls->node);
    return E_OK;
}

static enum err ingresses_run(struct compile *c)
{
    if (c->has_missed) {
        TRY(index_catch_up(c));
        c->has_missed = false;
    }
    list_each(it, &c->dirty_ingresses)
    {
        struct node *n = container_of(it, struct node, dirty);
        TRY(ingress_update(c, container_of(n, struct ingress_node, node)));
    }
    return E_OK;
}

static enum err secrets_run(struct compile *c)
{
    TRY(own_certificate_compile(c));
    list_each(it, &c->dirty_secrets)
    {
        struct node *n = container_of(it, struct node, dirty);
        TRY(secret_compile(c, container_of(n, struct secret_node, node)));
    }
    return keys_drop(c);
}

static enum err tls_run(struct compile *c)
{
    list_each(it, &c->dirty_tls)
    {
        struct node *n = container_of(it, struct node, dirty);
        TRY(tls_host_compile(c, container_of(n, struct tls_node, node)));
    }
    return E_OK;
}

static enum err hosts_run(struct compile *c)
{
    https_spread(c);
    list_each(it, &c->dirty_hosts)
    {
        struct node *n = container_of(it, struct node, dirty);
        TRY(host_compile(c, container_of(n, struct host_node, node)));
    }
    return E_OK;
}

static enum err ports_run(struct compile *c)
{
    list_each(it, &c->dirty_ports)
    {
        struct node *n = container_of(it, struct node, dirty);
        TRY(service_compile(c, container_of(n, struct port_node, node)));
    }
    return E_OK;
}

enum err compile_run(struct compile *c, compile_shard_fn *emit, void *arg)
{
    c->emit = emit;
    c->emit_arg = arg;
    TRY(any_host_start(c));
    TRY(config_refresh(c));
    TRY(any_tls_start(c));
    TRY(ingresses_run(c));
    TRY(secrets_run(c));
    TRY(global_compile(c));
    TRY(tls_run(c));
    TRY(hosts_run(c));
    return ports_run(c);
}

bool compile_is_dirty(const struct compile *c)
{
    return c->has_missed || c->any_host == NULL || c->is_config_dirty || c->is_global_dirty ||
           !list_is_empty(&c->dirty_ingresses) || !list_is_empty(&c->dirty_secrets) ||
           !list_is_empty(&c->dirty_keys) || !list_is_empty(&c->dirty_tls) ||
           !list_is_empty(&c->dirty_hosts) || !list_is_empty(&c->dirty_ports);
}

/* ---- questions ---- */

void compile_each_diag(const struct compile *c, diag_fn *fn, void *arg)
{
    diag_book_sort(c->book);
    diag_book_each(c->book, fn, arg);
}

void compile_on_diag(struct compile *c, diag_fn *fn, void *arg)
{
    c->book->on_diag = fn;
    c->book->arg = arg;
}

void compile_each_external_name(const struct compile *c, compile_name_fn *fn, void *arg)
{
    map_each(slot, &c->names)
    {
        fn(arg, ((const struct node *)slot->value)->key.part[0]);
    }
}

void compile_each_secret(const struct compile *c, compile_secret_fn *fn, void *arg)
{
    map_each(slot, &c->secrets)
    {
        const struct node *secret = slot->value;
        fn(arg, secret->key.part[0], secret->key.part[1]);
    }
}

void compile_on_pending(struct compile *c, compile_pending_fn *fn, const void *arg)
{
    c->is_pending = fn;
    c->pending_arg = arg;
}

void compile_set_time(struct compile *c, int64_t now_s)
{
    c->now_s = now_s;
    map_each(slot, &c->secrets)
    {
        struct secret_node *secret = slot->value;
        if (secret_is_time_due(c, secret)) {
            node_mark(&c->dirty_secrets, &secret->node);
        }
    }
}

uint64_t compile_secret_version(const struct compile *c)
{
    return c->secret_version;
}

void compile_hide_classes(struct compile *c, bool are_hidden)
{
    if (c->are_classes_hidden != are_hidden) {
        c->are_classes_hidden = are_hidden;
        index_classes_changed(c);
    }
}
