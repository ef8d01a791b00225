/* http1/channel.h: the bytes of one HTTP/1 connection, whichever side: receiving into the loop's
 * one shared buffer, keeping what could not be used yet, sending at once and holding what did not
 * fit. An idle channel owns no buffer at all. Private to http1/. */
#pragma once

#include "base/buf.h"
#include "base/limits.h"
#include "event/transport.h"
#include "http/budget.h"
#include "snapshot/settings.h"

/* What all HTTP/1 connections of one loop share. */
struct http1_context {
    struct loop *loop;
    char *receive; /* RECEIVE_BYTES: where every recv() goes first */
    char *emit;    /* EMIT_BYTES: where every head is put together */
    struct field
        *fields; /* 2 * HEAD_FIELDS_MAX: where every head is parsed to, then its trailers */
    const struct snap_settings *settings; /* as of now: they change with the configuration */
    struct http_budget *budget;
    bool is_receive_busy; /* somebody's bytes in receive are still in use */
};

enum { EMIT_BYTES = 2 * HEAD_BYTES_MAX };

/* Borrows everything for the context's life. Errors: E_NOMEM. */
enum err http1_context_init(struct http1_context *x, struct loop *loop,
                            const struct snap_settings *settings, struct http_budget *budget);
void http1_context_fini(struct http1_context *x);

struct http1_channel {
    struct transport transport; /* first: an event's watch leads back to the channel */
    struct http1_context *context;
    struct buf in;    /* received, not used yet; empty most of the time */
    struct buf out;   /* accepted for sending, not sent yet; empty most of the time */
    uint64_t taken_n; /* by the peer, when channel_mark() last looked */
    size_t held_n;    /* of both, as the budget knows it */
    bool is_readable; /* the socket may have bytes (or an end) we have not seen */
    bool is_at_end;   /* the peer has said that nothing more comes */
    bool has_hangup;  /* epoll has told of the end or an error, once: read until it is met */
};

/* Makes c an empty channel; the transport is the owner's to open before or after. */
void channel_init(struct http1_channel *c, struct http1_context *context, size_t in_max);
/* Closes the transport and frees the buffers. */
void channel_close(struct http1_channel *c, bool has_reset);

/* Some more bytes: *ret_bytes is everything received and not used, in memory that may be written
 * to. The caller uses a part of it and hands the rest to channel_keep() before anybody receives
 * again. Errors: E_AGAIN (nothing there now), E_CLOSED (the peer's end; what was kept stays kept),
 * E_LIMIT (in_max bytes kept already), E_NOMEM, E_SYS. */
enum err channel_receive(struct http1_channel *c, struct str *ret_bytes);
/* The same, at most `most` bytes of the socket. */
enum err channel_receive_some(struct http1_channel *c, size_t most, struct str *ret_bytes);
/* The same without asking the socket: what was kept. Empty str when nothing was. */
struct str channel_kept(struct http1_channel *c);
/* The end of the last *ret_bytes or channel_kept() that was not used. Errors: E_NOMEM. */
enum err channel_keep(struct http1_channel *c, struct str rest);

/* Sends all parts or takes copies of what does not fit: E_OK all is with the kernel, E_AGAIN some
 * is held here: send no more until channel_flush() says E_OK. The parts array is written to.
 * Errors: E_LIMIT (CONN_PENDING_BYTES_MAX), E_NOMEM, E_CLOSED, E_SYS. */
enum err channel_send(struct http1_channel *c, struct iovec *parts, int part_n);
/* Takes copies of what follows the first sent bytes of parts, without sending: for a connection
 * that does not stand yet. E_AGAIN, or as above. */
enum err channel_hold(struct http1_channel *c, const struct iovec *parts, int part_n, size_t sent);
/* Forgets what is held: the peer will not take it. */
void channel_drop_held(struct http1_channel *c);
/* Sends what is held. Errors: E_AGAIN, E_CLOSED, E_SYS. */
enum err channel_flush(struct http1_channel *c);
static inline bool channel_is_flushed(const struct http1_channel *c)
{
    return c->out.n == 0;
}

/* Remembers how much the peer has taken, at the begin of a wait for room. The kernel tells of room
 * only when a good part of its buffer is free, which a slow reader of a large buffer may not reach
 * for minutes: channel_has_moved() asks whether it has taken anything since, and marks again. */
void channel_mark(struct http1_channel *c);
bool channel_has_moved(struct http1_channel *c);
