/* Receiving through the shared buffer, sending at once, keeping the rest. */
#include "http1/channel.h"

#include "base/mem.h"
#include "wire/field.h"

enum err http1_context_init(struct http1_context *x, struct loop *loop,
                            const struct snap_settings *settings, struct http_budget *budget)
{
    *x = (struct http1_context){
        .loop = loop,
        .settings = settings,
        .budget = budget,
        .receive = mem_alloc(RECEIVE_BYTES),
        .emit = mem_alloc(EMIT_BYTES),
        .fields = mem_calloc((size_t)2 * HEAD_FIELDS_MAX, sizeof(struct field)),
    };
    if (x->receive == NULL || x->emit == NULL || x->fields == NULL) {
        http1_context_fini(x);
        return E_NOMEM;
    }
    return E_OK;
}

void http1_context_fini(struct http1_context *x)
{
    mem_free(x->receive);
    mem_free(x->emit);
    mem_free(x->fields);
    *x = (struct http1_context){0};
}

void channel_init(struct http1_channel *c, struct http1_context *context, size_t in_max)
{
    *c = (struct http1_channel){.transport = {.watch = {.fd = -1}}, .context = context};
    buf_init(&c->in, in_max);
    buf_init(&c->out, CONN_PENDING_BYTES_MAX);
}

/* Tells the budget what is held now. */
static void channel_account(struct http1_channel *c)
{
    size_t held_n = c->in.n + c->out.n;
    c->context->budget->used += held_n;
    c->context->budget->used -= c->held_n;
    c->held_n = held_n;
}

void channel_close(struct http1_channel *c, bool has_reset)
{
    if (c->transport.ops != NULL) {
        c->transport.ops->close(&c->transport, has_reset);
    }
    buf_fini(&c->in);
    buf_fini(&c->out);
    channel_account(c);
}

struct str channel_kept(struct http1_channel *c)
{
    return buf_str(&c->in);
}

enum err channel_receive_some(struct http1_channel *c, size_t most, struct str *ret_bytes)
{
    struct http1_context *x = c->context;
    most = most < RECEIVE_BYTES ? most : RECEIVE_BYTES;
    must(!x->is_receive_busy);
    if (!c->is_readable) {
        return E_AGAIN;
    }
    size_t n;
    enum err e = c->transport.ops->receive(&c->transport, x->receive, most, &n);
    if (e != E_OK) {
        c->is_readable = false;
        c->is_at_end = c->is_at_end || e != E_AGAIN;
        return e;
    }
    /* A short read has emptied the socket: edge-triggered epoll tells when there is more. But the
     * end that came together with these bytes was told with them. */
    c->is_readable = n == most || c->has_hangup;
    if (c->in.n == 0) {
        x->is_receive_busy = true;
        *ret_bytes = str_make(x->receive, n);
        return E_OK;
    }
    if (n > c->in.max - c->in.n) {
        return E_LIMIT;
    }
    buf_add(&c->in, x->receive, n);
    channel_account(c);
    *ret_bytes = buf_str(&c->in);
    return c->in.bad ? E_NOMEM : E_OK;
}

enum err channel_receive(struct http1_channel *c, struct str *ret_bytes)
{
    return channel_receive_some(c, RECEIVE_BYTES, ret_bytes);
}

enum err channel_keep(struct http1_channel *c, struct str rest)
{
    c->context->is_receive_busy = false;
    if (c->in.n > 0) { /* rest is the end of in */
        buf_drop(&c->in, c->in.n - rest.n);
    } else if (rest.n > 0) {
        buf_add_str(&c->in, rest);
    }
    if (c->in.n == 0 && c->in.p != NULL) {
        buf_fini(&c->in);
    }
    channel_account(c);
    return c->in.bad ? E_NOMEM : E_OK;
}

enum err channel_hold(struct http1_channel *c, const struct iovec *parts, int part_n, size_t sent)
{
    for (int i = 0; i < part_n; i++) {
        size_t skip = sent < parts[i].iov_len ? sent : parts[i].iov_len;
        buf_add(&c->out, (const char *)parts[i].iov_base + skip, parts[i].iov_len - skip);
        sent -= skip;
    }
    channel_account(c);
    if (c->out.bad) {
        return c->out.n == c->out.max ? E_LIMIT : E_NOMEM;
    }
    return E_AGAIN;
}

enum err channel_send(struct http1_channel *c, struct iovec *parts, int part_n)
{
    size_t sent = 0;
    if (c->out.n == 0) {
        enum err e = c->transport.ops->send(&c->transport, parts, part_n, &sent);
        if (e != E_AGAIN) {
            return e;
        }
    }
    return channel_hold(c, parts, part_n, sent);
}

void channel_drop_held(struct http1_channel *c)
{
    buf_fini(&c->out);
    channel_account(c);
}

enum err channel_flush(struct http1_channel *c)
{
    if (c->out.n == 0) {
        return E_OK;
    }
    struct iovec part = {c->out.p, c->out.n};
    size_t sent = 0;
    enum err e = c->transport.ops->send(&c->transport, &part, 1, &sent);
    buf_drop(&c->out, sent);
    if (c->out.n == 0) {
        buf_fini(&c->out);
    }
    channel_account(c);
    return e;
}

void channel_mark(struct http1_channel *c)
{
    c->taken_n = c->transport.ops->taken(&c->transport);
}

bool channel_has_moved(struct http1_channel *c)
{
    uint64_t before = c->taken_n;
    channel_mark(c);
    return c->taken_n > before;
}
