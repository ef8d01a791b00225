/* http2/server_priv.h: a client's connection, as server.c (the connection) and server_stream.c (one
 * request) share it. */
#pragma once

#include "http2/conn.h"
#include "http2/server.h"

/* What the connection waits for; each has a named timeout. */
enum conn_wait {
    CONN_WAIT_NONE,
    CONN_WAIT_HEAD,   /* the preface, or the rest of a header section */
    CONN_WAIT_IDLE,   /* a request */
    CONN_WAIT_WRITE,  /* room in the socket */
    CONN_WAIT_NOTICE, /* the client to have seen that we go away */
    CONN_WAIT_LINGER,
    CONN_WAITS_N
};

struct server_conn {
    struct http2_conn base; /* first */
    struct http2_server *server;
    struct list node;
    struct http_peer peer;
    enum conn_wait wait;
    uint32_t request_n;
    size_t heads_n;  /* bytes of the requests of streams */
    bool is_closing; /* what is gathered goes out, then the client's end is waited for */
    bool is_counted_idle;
    bool is_noticed; /* the first GOAWAY of two went */
    bool is_told;    /* the second one too */
};

static inline struct server_conn *server_conn_of(struct http2_conn *c)
{
    return container_of(c, struct server_conn, base);
}

/* ---- server_stream.c ---- */

/* What of struct http2_side is about one stream. */
struct http2_stream *server_stream_new(struct server_conn *c, int32_t id); /* NULL: no memory */
void server_stream_free(struct http2_stream *s);
void server_stream_begin(struct http2_stream *s, struct str body, bool is_end);
void server_stream_over(struct http2_stream *s, uint32_t code);
void server_stream_end_sent(struct http2_stream *s);
void server_stream_finish(struct http2_stream *s);
enum http2_stream_wait server_stream_wait(const struct http2_stream *s);
void server_stream_timeout(struct http2_stream *s, enum http2_stream_wait wait);
