/* http2/server_priv.h: a connection and its streams, as server.c (the connection) and
 * server_stream.c (one stream) share them. */
#pragma once

#include "base/buf.h"
#include "http2/guard.h"
#include "http2/head.h"
#include "http2/link.h"
#include "http2/server.h"

enum conn_state { CONN_OPEN, CONN_CLOSING, CONN_DEAD };

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
    struct http2_link link; /* first */
    struct http2_server *server;
    struct list node;
    struct timer timer;
    struct deferred work;
    struct http_peer peer;
    struct list streams;
    struct list writable; /* streams whose owner is to be told */
    struct stream *held;  /* its request is complete in context->head, not handed over yet: its
                             first DATA may be right behind */
    struct buf kept_head; /* of a header section that is not complete */
    struct http2_guard guard;
    struct http2_walk walk;
    uint32_t continuation_n; /* frames of the present header section */
    enum conn_state state;
    enum conn_wait wait;
    uint32_t stream_n, request_n;
    size_t frame_left; /* of the DATA frame that is coming in, padding included */
    bool is_counted_idle;
    bool has_settings; /* the client's first SETTINGS have come */
    bool is_in_head;   /* a header section has begun */
    bool is_condemned; /* GOAWAY with an error is on its way: nothing more is taken */
    bool is_noticed;   /* the first GOAWAY of two went */
    bool is_told;      /* the second one too */
};

enum stream_wait { STREAM_WAIT_NONE, STREAM_WAIT_BODY, STREAM_WAIT_WINDOW, STREAM_WAITS_N };

struct stream {
    struct http_stream base; /* first */
    struct server_conn *conn;
    struct list node, writable_node;
    struct timer timer;
    struct deferred work;
    int32_t id;
    enum stream_wait wait;
    struct buf in;  /* received, not pulled yet */
    struct buf out; /* accepted, not sent yet: from out_at */
    struct str now; /* the same, in the caller's memory, during a call */
    size_t out_at;
    size_t held_n;             /* as the budget knows it */
    uint64_t sent_n, marked_n; /* bytes that went out; when the timer began */
    uint64_t in_n, in_length;  /* bytes of the body that came; that were announced */
    uint64_t out_left;
    struct field *trailers_in, *trailers_out; /* one block each, with their bytes, or NULL */
    uint32_t trailers_out_n;
    bool has_owner;  /* between on_request and release or on_closed */
    bool is_calling; /* inside a callback to the owner */
    bool is_pulled;
    bool is_send_blocked; /* the owner waits for on_writable */
    bool is_deferred;     /* nghttp2 waits for bytes of ours */
    bool is_in_ended;     /* the client has ended its message */
    bool is_in_told;      /* and the owner knows */
    bool has_in_length, has_out_length;
    bool has_responded;
    bool is_out_ended; /* the owner has ended its message */
    bool is_end_sent;
    bool is_closed;  /* for nghttp2 it is gone */
    bool is_busy;    /* inside an operation of the owner's */
    bool is_head;    /* the method is HEAD */
    bool is_connect; /* RFC 8441 */
    bool is_tunnel;
    bool owes_continue;
};

/* ---- server_stream.c ---- */

struct stream *stream_new(struct server_conn *c, int32_t id); /* NULL: out of memory */
void stream_free(struct stream *s);
/* The head in context->head is complete: hands the request over, with its body's first piece. */
void stream_begin(struct stream *s, struct str body, bool is_end);
void stream_data(struct stream *s, struct str data, bool is_end);
void stream_trailers(struct stream *s);
/* Tells the owner, if there is one, that the stream broke. */
void stream_break(struct stream *s, enum reason why);
/* nghttp2 has closed it. */
void stream_over(struct stream *s, uint32_t code);
/* A frame that ends our message went. */
void stream_end_sent(struct stream *s);
void stream_writable(struct stream *s);

ssize_t stream_on_read(nghttp2_session *session, int32_t id, uint8_t *p, size_t n, uint32_t *flags,
                       nghttp2_data_source *source, void *user);
int stream_on_send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head,
                        size_t n, nghttp2_data_source *source, void *user);

/* ---- server.c ---- */

/* Runs conn_settle() at the end of the tick. */
void conn_defer(struct server_conn *c);
