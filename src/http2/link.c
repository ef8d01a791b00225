/* Between a transport and nghttp2. */
#include "http2/link.h"

#include "base/mem.h"

static void link_break(struct http2_link *l)
{
    if (!l->is_broken) {
        l->is_broken = true;
        l->events->on_broken(l);
    }
}

/* ---- sending ---- */

static void link_send(struct http2_link *l)
{
    struct iovec part = {l->out + l->out_at, l->out_n - l->out_at};
    size_t sent = 0;
    enum err e = l->transport.ops->send(&l->transport, &part, 1, &sent);
    l->out_at += sent;
    l->is_blocked = e != E_OK;
    l->is_deaf = e != E_OK && e != E_AGAIN;
    if (l->out_at == l->out_n || l->is_deaf) {
        l->out_at = l->out_n = 0;
    }
    if (l->is_deaf) {
        l->events->on_broken(l);
    }
}

/* A buffer that leaves with this tick is nobody's burden, however many connections have one: many
 * that came together must not keep requests from being served. One that stays is. */
static void link_account(struct http2_link *l)
{
    size_t held_n = l->out != NULL && l->is_blocked ? HTTP2_GATHER_BYTES : 0;
    l->context->budget->used += held_n;
    l->context->budget->used -= l->held_n;
    l->held_n = held_n;
}

static void out_give(struct http2_link *l)
{
    http2_gather_give(l->context, l->out);
    l->out = NULL;
}

static void on_flush(struct deferred *d)
{
    struct http2_link *l = container_of(d, struct http2_link, flush);
    if (!l->is_blocked) {
        http2_link_flush(l);
    }
    if (!l->is_broken) {
        l->events->on_flushed(l);
    }
}

void http2_link_flush(struct http2_link *l)
{
    if (!l->is_broken && !l->is_deaf && !http2_link_is_flushed(l)) {
        link_send(l);
    }
    if (http2_link_is_flushed(l) && l->out != NULL && !l->is_inside) {
        out_give(l);
    }
    link_account(l);
}

static size_t link_left(struct http2_link *l)
{
    return HTTP2_GATHER_BYTES - l->out_n;
}

char *http2_link_room(struct http2_link *l, size_t n)
{
    if (l->is_broken || l->is_blocked) {
        return NULL;
    }
    if (l->out == NULL) {
        l->out = http2_gather_take(l->context);
        if (l->out == NULL) {
            link_break(l);
            return NULL;
        }
        l->out_at = l->out_n = 0;
    }
    if (link_left(l) < n) {
        link_send(l);
    }
    if (l->is_deaf || link_left(l) < n) {
        return NULL;
    }
    char *at = l->out + l->out_n;
    l->out_n += n;
    return at;
}

ssize_t http2_link_on_send(nghttp2_session *session, const uint8_t *p, size_t n, int flags,
                           void *user)
{
    struct http2_link *l = user;
    (void)session;
    (void)flags;
    size_t piece = n < HTTP2_GATHER_BYTES ? n : HTTP2_GATHER_BYTES;
    char *room = http2_link_room(l, piece);
    if (room == NULL) {
        return l->is_broken ? NGHTTP2_ERR_CALLBACK_FAILURE : NGHTTP2_ERR_WOULDBLOCK;
    }
    mem_copy(room, p, piece);
    return (ssize_t)piece;
}

void http2_link_pump(struct http2_link *l)
{
    l->is_broken = l->is_broken || l->memory.has_failed;
    if (l->is_inside || l->is_broken || l->is_blocked || l->is_waiting) {
        return;
    }
    l->is_inside = true;
    int fault = nghttp2_session_send(l->session);
    l->is_inside = false;
    if (fault != 0 || l->memory.has_failed) {
        link_break(l);
    }
    if (l->out != NULL) { /* the owner is told, of blocked ones too: it has to set a timer */
        loop_defer(l->context->loop, &l->flush, on_flush);
    }
    link_account(l);
}

/* ---- receiving ---- */

static enum err err_of(const struct http2_link *l, ssize_t fault)
{
    if (l->memory.has_failed) {
        return E_NOMEM;
    }
    if (fault >= 0) {
        return http2_memory_is_over(&l->memory) ? E_LIMIT : E_OK;
    }
    return fault == NGHTTP2_ERR_FLOODED ? E_REFUSED : E_PROTO;
}

enum err http2_link_feed(struct http2_link *l, struct str bytes)
{
    l->events->on_received(l, bytes);
    l->is_inside = true;
    ssize_t n = nghttp2_session_mem_recv(l->session, (const uint8_t *)bytes.p, bytes.n);
    l->is_inside = false;
    return err_of(l, n);
}

enum err http2_link_receive(struct http2_link *l, unsigned most, size_t *ret_n)
{
    *ret_n = 0;
    for (unsigned i = 0; i < most && !l->is_broken; i++) {
        size_t n;
        if (!l->is_readable) {
            return E_AGAIN;
        }
        enum err e =
            l->transport.ops->receive(&l->transport, l->context->receive, RECEIVE_BYTES, &n);
        l->is_readable = e == E_OK && (n == RECEIVE_BYTES || l->has_hangup);
        TRY(e);
        *ret_n += n;
        TRY(http2_link_feed(l, str_make(l->context->receive, n)));
    }
    return E_OK;
}

/* ---- life ---- */

enum err http2_link_open(struct http2_link *l, struct http2_context *context,
                         const struct http2_link_events *events,
                         const nghttp2_session_callbacks *calls, bool is_server)
{
    l->context = context;
    l->events = events;
    http2_memory_init(&l->memory, context->budget,
                      is_server ? http2_conn_max(context, HTTP2_CONN_MEMORY_MAX)
                                : HTTP2_UPSTREAM_MEMORY_MAX);
    l->memory.spares = &context->spares;
    http2_memory_begin(&l->memory);
    nghttp2_mem mem = {&l->memory, http2_mem_alloc, http2_mem_free, http2_mem_calloc,
                       http2_mem_resize};
    int fault = is_server
                    ? nghttp2_session_server_new3(&l->session, calls, l, context->option, &mem)
                    : nghttp2_session_client_new3(&l->session, calls, l, context->option, &mem);
    http2_memory_begun(&l->memory);
    return fault == 0 ? E_OK : E_NOMEM;
}

void http2_link_close(struct http2_link *l, bool has_reset)
{
    l->is_broken = true;
    if (l->transport.ops != NULL) {
        l->transport.ops->close(&l->transport, has_reset);
    }
    loop_undefer(&l->flush);
    if (l->out != NULL) {
        out_give(l);
    }
    link_account(l);
    l->out_at = l->out_n = 0;
}

void http2_link_fini(struct http2_link *l)
{
    if (!l->memory.has_failed) {
        nghttp2_session_del(l->session);
    }
    http2_memory_clear(&l->memory);
    l->session = NULL;
}

void http2_link_mark(struct http2_link *l)
{
    l->taken_n = l->transport.ops->taken(&l->transport);
}

bool http2_link_has_moved(struct http2_link *l)
{
    uint64_t before = l->taken_n;
    http2_link_mark(l);
    return l->taken_n > before;
}
