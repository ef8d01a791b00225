/* http2/client_priv.h: a connection to an endpoint, as client.c (the connection) and
 * client_stream.c (one request) share it. */
#pragma once

#include "http2/client.h"
#include "http2/conn.h"

enum client_state {
    CLIENT_CONNECTING,
    CLIENT_SHAKING,  /* hands, where the transport is TLS */
    CLIENT_GREETING, /* the endpoint's SETTINGS are awaited: requests wait until then */
    CLIENT_OPEN
};

enum client_wait {
    CLIENT_WAIT_NONE,
    CLIENT_WAIT_CONNECT,
    CLIENT_WAIT_SHAKE,
    CLIENT_WAIT_WRITE,
    CLIENT_WAIT_PONG,
    CLIENT_WAIT_IDLE,
    CLIENT_WAITS_N
};

struct client_conn {
    struct http2_conn base; /* first */
    struct http2_dialer *dialer;
    struct http_conn pool; /* what the pool sees */
    enum client_state state;
    enum client_wait wait;
    usec_t received_at;
    struct list lost;          /* streams whose owners are to be told, by writable_node */
    uint32_t free_n;           /* streams whose owners are done, the pool not told yet */
    bool is_leaving;           /* GOAWAY: no further stream */
    bool is_probing;           /* it has been silent for too long; a PING is out */
    bool is_capacity_stale;    /* something has happened that may have changed it */
    bool has_extended_connect; /* RFC 8441 section 3 */
};

static inline struct client_conn *client_conn_of(struct http2_conn *c)
{
    return container_of(c, struct client_conn, base);
}

/* ---- client.c ---- */

/* A stream has waited in vain since then: is anybody there at all? */
void client_conn_doubt(struct client_conn *c, usec_t since);

/* ---- client_stream.c ---- */

struct http2_stream *client_stream_new(struct client_conn *c); /* NULL: out of memory */
/* Ends it, as far as its owner is concerned, who may look for another connection at once: not
 * before the pool knows what this one still takes. */
void client_stream_lose(struct http2_stream *s, enum reason why, bool is_unsent);
/* The connection is gone; false: all of the response is here, the owner gets it yet. */
bool client_stream_cut(struct http2_stream *s, enum reason why, bool has_ended_well);
/* It has not been sent, and will not be: RST_STREAM keeps it from it. */
void client_stream_refuse(struct http2_stream *s, enum reason why, bool is_unsent);
/* WebSocket on a connection that does not take it. */
bool client_stream_is_misplaced(const struct http2_stream *s);

/* What of struct http2_side is about one stream. */
void client_stream_head(struct http2_conn *c, struct http2_stream *s, const nghttp2_frame *frame);
void client_stream_begin(struct http2_stream *s, struct str body, bool is_end);
void client_stream_over(struct http2_stream *s, uint32_t code);
void client_stream_end_sent(struct http2_stream *s);
void client_stream_finish(struct http2_stream *s);
enum http2_stream_wait client_stream_wait(const struct http2_stream *s);
void client_stream_timeout(struct http2_stream *s, enum http2_stream_wait wait);
