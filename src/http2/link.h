/* http2/link.h: the bytes of one HTTP/2 connection, whichever side: from the transport into nghttp2
 * and back. Frames of one tick are gathered in one buffer and leave together at its end, or when it
 * is full: few system calls, few TLS records. While the socket takes nothing, nghttp2 is not asked
 * for more. An idle link owns no buffer. Private to http2/. */
#pragma once

#include "base/str.h"
#include "event/transport.h"
#include "http2/context.h"

#include <nghttp2/nghttp2.h>

struct http2_link;

struct http2_link_events {
    /* Bytes came, and are about to be given to nghttp2. */
    void (*on_received)(struct http2_link *l, struct str bytes);
    /* The link broke, or turned deaf; inside of whatever was done with it, so only note it. */
    void (*on_broken)(struct http2_link *l);
    /* Everything gathered has left, or blocked: at the end of a tick, outside of nghttp2. */
    void (*on_flushed)(struct http2_link *l);
};

struct http2_link {
    struct transport transport; /* first: an event's watch leads back to the link */
    struct http2_context *context;
    const struct http2_link_events *events;
    nghttp2_session *session;
    struct http2_memory memory;
    struct deferred flush;
    char *out; /* gathered, not sent: out[out_at..out_n); NULL: nothing */
    size_t out_at, out_n;
    size_t held_n;    /* of it, as the budget knows it */
    uint64_t taken_n; /* by the peer, when http2_link_mark() last looked */
    bool is_readable; /* the socket may have bytes (or an end) we have not seen */
    bool has_hangup;  /* epoll has told of the end or an error, once: read until it is met */
    bool is_blocked;  /* the socket takes nothing now */
    bool is_waiting;  /* the owner lets nothing out yet: the transport does not stand */
    bool is_deaf;     /* the peer takes nothing more; what it has sent can still be read */
    bool is_inside;   /* of nghttp2: it must not be asked to receive or send */
    bool is_broken;
};

/* calls has http2_link_on_send() and what the owner needs besides. The transport is the owner's to
 * open before or after. Errors: E_NOMEM. */
enum err http2_link_open(struct http2_link *l, struct http2_context *context,
                         const struct http2_link_events *events,
                         const nghttp2_session_callbacks *calls, bool is_server);
/* Closes the transport; no callback follows. Not inside of nghttp2. */
void http2_link_close(struct http2_link *l, bool has_reset);
/* Frees what nghttp2 has; at the end of a tick. */
void http2_link_fini(struct http2_link *l);

/* Gives nghttp2 what has come, at most `most` buffers full. Errors: E_AGAIN (nothing more there),
 * E_OK (there may be more), E_CLOSED, E_SYS, E_PROTO (the peer broke HTTP/2 beyond repair),
 * E_REFUSED (more to acknowledge than it reads), E_LIMIT (its memory), E_NOMEM. *ret_n: bytes that
 * came. */
enum err http2_link_receive(struct http2_link *l, unsigned most, size_t *ret_n);
/* The same for bytes that came by another way. Nothing may be fed after E_PROTO and what follows.
 */
enum err http2_link_feed(struct http2_link *l, struct str bytes);
/* Lets nghttp2 make frames, as long as there is room; they leave at the end of the tick. Does
 * nothing inside of nghttp2: whoever called that pumps after it. */
void http2_link_pump(struct http2_link *l);
/* Sends what is gathered, now. */
void http2_link_flush(struct http2_link *l);
static inline bool http2_link_is_flushed(const struct http2_link *l)
{
    return l->out_at == l->out_n;
}
/* For the owner's send_data_callback: a DATA frame of n bytes behind its header. Room for all of
 * it, or NULL: the socket is blocked. */
char *http2_link_room(struct http2_link *l, size_t n);

/* The send_callback of every link. */
ssize_t http2_link_on_send(nghttp2_session *session, const uint8_t *p, size_t n, int flags,
                           void *user);

/* As channel_mark() and channel_has_moved() in HTTP/1: has the peer taken anything since? */
void http2_link_mark(struct http2_link *l);
bool http2_link_has_moved(struct http2_link *l);
