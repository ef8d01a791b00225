/* One end of a tunnel.
 *
 *   CONNECTING ──> OPEN ──> DEAD
 *        └── broken, or released ──^
 *
 * Time: every byte of a tunnel is received at one end and sent at the other, so each end sees all
 * that moves. While it is pulled, an end gives up when nothing has moved at it for
 * proxy-stream-timeout; while it holds bytes, when its peer has taken none of them for as long; in
 * between, the other end holds bytes and is the one that is timed.
 * A peer that takes nothing more (a reset) may have sent something before: that is read and passed
 * on, and the break comes when the reading meets it. */
#include "tcp/end.h"

#include <sys/epoll.h>

#include "base/limits.h"
#include "base/mem.h"

static const struct {
    size_t timeout; /* offset in struct snap_settings */
    size_t counter; /* offset of the stats_value in struct stats_page */
} waits[TCP_WAITS_N] = {
    [TCP_WAIT_CONNECT] = {offsetof(struct snap_settings, proxy_connect_timeout),
                          offsetof(struct stats_page, timeout_upstream_connect)},
    [TCP_WAIT_ROOM] = {offsetof(struct snap_settings, proxy_stream_timeout),
                          offsetof(struct stats_page, timeout_tunnel_idle)     },
    [TCP_WAIT_BYTES] = {offsetof(struct snap_settings, proxy_stream_timeout),
                          offsetof(struct stats_page, timeout_tunnel_idle)     },
};

static timer_fn end_on_timer;
static deferred_fn end_on_work;

static struct loop *end_loop(const struct tcp_end *e)
{
    return e->context->loop;
}

/* ---- life ---- */

void tcp_end_init(struct tcp_end *e, struct tcp_context *context, const struct tcp_end_ops *ops,
                  const struct http_stream_ops *stream_ops, enum tcp_state state)
{
    *e = (struct tcp_end){
        .transport = {.watch = {.fd = -1}},
        .context = context,
        .ops = ops,
        .stream = {.ops = stream_ops},
        .state = state,
    };
    buf_init(&e->out, CONN_PENDING_BYTES_MAX);
}

/* Tells the budget what is held now. */
static void end_account(struct tcp_end *e)
{
    e->context->budget->used += e->out.n;
    e->context->budget->used -= e->held_n;
    e->held_n = e->out.n;
}

static void end_drop_held(struct tcp_end *e)
{
    buf_fini(&e->out);
    end_account(e);
}

static void end_free(struct deferred *d)
{
    mem_free(container_of(d, struct tcp_end, work)); /* it is first in what it is part of */
}

void tcp_end_kill(struct tcp_end *e, bool has_reset)
{
    if (e->state == TCP_DEAD) {
        return;
    }
    e->state = TCP_DEAD;
    e->transport.ops->close(&e->transport, has_reset);
    end_drop_held(e);
    loop_disarm(end_loop(e), &e->timer);
    loop_defer(end_loop(e), &e->work, end_free);
    if (e->ops->on_over != NULL) {
        e->ops->on_over(e);
    }
}

void tcp_end_break(struct tcp_end *e, enum reason why)
{
    if (e->state != TCP_DEAD) {
        tcp_end_kill(e, true);
        e->ops->on_broken(e, why);
    }
}

/* ---- waiting ---- */

static enum tcp_wait wait_of(const struct tcp_end *e)
{
    if (e->state == TCP_CONNECTING) {
        return TCP_WAIT_CONNECT;
    }
    if (e->out.n > 0) {
        return TCP_WAIT_ROOM;
    }
    return e->is_pulled ? TCP_WAIT_BYTES : TCP_WAIT_NONE;
}

static void end_mark(struct tcp_end *e)
{
    e->taken_n = e->transport.ops->taken(&e->transport);
}

/* The kernel tells of room only when a good part of its buffer is free, which a slow reader may not
 * reach for a long time. */
static bool end_has_moved(struct tcp_end *e)
{
    uint64_t before = e->taken_n;
    end_mark(e);
    return e->taken_n > before;
}

void tcp_end_wait(struct tcp_end *e)
{
    const char *settings = (const char *)e->context->settings;
    enum tcp_wait wait = wait_of(e);
    if (wait == TCP_WAIT_ROOM && e->wait != TCP_WAIT_ROOM) {
        end_mark(e);
    }
    e->wait = wait;
    if (wait != TCP_WAIT_NONE) {
        usec_t timeout = *(const uint64_t *)(const void *)(settings + waits[wait].timeout);
        loop_arm(end_loop(e), &e->timer, timeout, end_on_timer);
    }
}

static void end_on_timer(struct timer *t)
{
    struct tcp_end *e = container_of(t, struct tcp_end, timer);
    enum tcp_wait wait = e->wait;
    if (wait == TCP_WAIT_NONE) {
        return;
    }
    if (wait == TCP_WAIT_ROOM && end_has_moved(e)) {
        tcp_end_wait(e); /* slow, but reading */
        return;
    }
    stats_add((stats_value *)(void *)((char *)e->context->stats + waits[wait].counter), 1);
    tcp_end_break(e, wait == TCP_WAIT_CONNECT ? REASON_connect_timeout : REASON_tunnel_idle);
}

/* ---- sending ---- */

static void end_send_broke(struct tcp_end *e)
{
    e->is_send_broken = true;
    e->is_readable = true;
    end_drop_held(e);
    loop_defer(end_loop(e), &e->work, end_on_work);
}

static enum err end_hold(struct tcp_end *e, struct str data)
{
    buf_add_str(&e->out, data);
    end_account(e);
    if (e->out.bad) {
        return e->out.n == e->out.max ? E_LIMIT : E_NOMEM;
    }
    return E_AGAIN;
}

/* E_OK: all is with the kernel; E_AGAIN: some is held. */
static enum err end_write(struct tcp_end *e, struct str data)
{
    union { /* iovec is not const, but sending does not write */
        const char *p;
        void *base;
    } at = {data.p};
    size_t sent = 0;
    stats_add(&e->context->stats->bytes_out, e->ops->is_client ? data.n : 0);
    if (e->state == TCP_OPEN && e->out.n == 0) {
        struct iovec part = {at.base, data.n};
        enum err err = e->transport.ops->send(&e->transport, &part, 1, &sent);
        if (err == E_CLOSED || err == E_SYS) {
            end_send_broke(e);
            return E_OK;
        }
        if (err != E_AGAIN) {
            return err;
        }
    }
    return end_hold(e, str_from(data, sent));
}

/* Our half has ended: pass it on behind the last byte. */
static void end_finish_if_due(struct tcp_end *e)
{
    if (e->state == TCP_OPEN && e->is_out_done && !e->is_finished && e->out.n == 0) {
        e->is_finished = true;
        e->transport.ops->finish(&e->transport);
    }
}

enum err tcp_end_send_body(struct http_stream *s, struct str data, bool is_end)
{
    struct tcp_end *e = tcp_end_of(s);
    enum err err = data.n == 0 || e->is_send_broken ? E_OK : end_write(e, data);
    e->is_out_done = e->is_out_done || is_end;
    e->is_send_blocked = err == E_AGAIN;
    end_finish_if_due(e);
    tcp_end_wait(e);
    return err;
}

static void end_tell_writable(struct tcp_end *e)
{
    if (e->is_send_blocked && e->stream.events != NULL) {
        e->is_send_blocked = false;
        e->is_calling = true;
        e->stream.events->on_writable(&e->stream);
        e->is_calling = false;
    }
}

void tcp_end_flush(struct tcp_end *e)
{
    size_t sent = 0;
    struct iovec part = {e->out.p, e->out.n};
    enum err err = e->out.n == 0 ? E_OK : e->transport.ops->send(&e->transport, &part, 1, &sent);
    buf_drop(&e->out, sent);
    if (e->out.n == 0) {
        buf_fini(&e->out);
    }
    end_account(e);
    if (err != E_OK && err != E_AGAIN) {
        end_send_broke(e);
        return;
    }
    end_finish_if_due(e);
    tcp_end_wait(e);
    if (err == E_OK) {
        end_tell_writable(e);
    }
}

/* ---- receiving ---- */

void tcp_end_pull(struct http_stream *s)
{
    struct tcp_end *e = tcp_end_of(s);
    e->is_pulled = true;
    tcp_end_wait(e);
    if (!e->is_calling && e->is_readable) {
        loop_defer(end_loop(e), &e->work, end_on_work);
    }
}

static void end_deliver(struct tcp_end *e, struct str data)
{
    e->is_pulled = false;
    tcp_end_wait(e);
    stats_add(&e->context->stats->bytes_in, e->ops->is_client ? data.n : 0);
    e->is_calling = true;
    e->stream.events->on_body(&e->stream, data, e->is_in_done);
    e->is_calling = false;
}

/* True when there may be more to do at once. */
static bool end_receive(struct tcp_end *e)
{
    size_t n = 0;
    if (e->state != TCP_OPEN || !e->is_pulled || !e->is_readable || e->is_in_done) {
        return false;
    }
    enum err err = e->transport.ops->receive(&e->transport, e->context->receive, RECEIVE_BYTES, &n);
    if (err == E_AGAIN) {
        e->is_readable = false;
        return false;
    }
    if (err != E_OK && err != E_CLOSED) {
        tcp_end_break(e, e->ops->broken);
        return false;
    }
    e->is_in_done = err == E_CLOSED;
    /* A short read has emptied the socket: an event tells when there is more. But the end that came
     * together with these bytes was told with them. */
    e->is_readable = err == E_OK && (n == RECEIVE_BYTES || e->has_hangup);
    end_deliver(e, str_make(e->context->receive, n));
    return e->state == TCP_OPEN;
}

/* Steps in one go before others get their turn. */
enum { STEPS_MAX = 16 };

void tcp_end_run(struct tcp_end *e)
{
    bool has_more = true;
    for (int i = 0; has_more; i++) {
        if (i == STEPS_MAX) {
            loop_defer(end_loop(e), &e->work, end_on_work);
            return;
        }
        has_more = end_receive(e);
    }
    /* Nobody reads any more: that the peer is gone would not be met. */
    if (e->is_send_broken && e->is_in_done) {
        tcp_end_break(e, e->ops->broken);
    }
}

static void end_on_work(struct deferred *d)
{
    tcp_end_run(container_of(d, struct tcp_end, work));
}

void tcp_end_on_event(struct watch *w, uint32_t events)
{
    struct tcp_end *e = container_of(w, struct tcp_end, transport.watch);
    if (e->state == TCP_CONNECTING && !e->ops->on_connecting(e, events)) {
        return;
    }
    if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLERR | EPOLLHUP)) != 0) {
        e->is_readable = true;
    }
    if ((events & (EPOLLRDHUP | EPOLLERR | EPOLLHUP)) != 0) {
        e->has_hangup = true;
    }
    /* Both ends sent, ours first, is a hang-up, too. */
    if ((events & EPOLLERR) != 0 || ((events & EPOLLHUP) != 0 && !e->is_finished)) {
        end_send_broke(e);
    } else if ((events & EPOLLOUT) != 0 && (e->out.n > 0 || e->is_send_blocked)) {
        tcp_end_flush(e);
    }
    tcp_end_run(e);
}

/* ---- the end ---- */

void tcp_end_release(struct http_stream *s)
{
    struct tcp_end *e = tcp_end_of(s);
    e->stream.events = NULL;
    /* An end is sent only when all before it was taken, so nothing is held behind it. */
    tcp_end_kill(e, !e->is_in_done || !e->is_finished || e->is_send_broken);
}
