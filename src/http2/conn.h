/* http2/conn.h: one HTTP/2 connection and its streams, as far as server and client do the same:
 * header sections are decoded, frames counted, bodies kept until somebody pulls them, and what is
 * sent goes out as the peer's windows allow. conn.c is the connection, stream.c the stream; what
 * only one side does comes by struct http2_side. Private to http2/.
 *
 * Nobody sends or frees inside of nghttp2: what is to be done is noted, and on_work() of the side
 * does it at the end of the tick. */
#pragma once

#include "base/buf.h"
#include "http/stream.h"
#include "http2/guard.h"
#include "http2/head.h"
#include "http2/link.h"
#include "stats/stats.h"
#include "wire/websocket.h"

struct http2_conn;
struct http2_stream;

/* A wait and its end. */
struct http2_wait {
    size_t timeout; /* offset in struct snap_settings; 0 = fixed */
    usec_t fixed;
    size_t counter; /* offset of the stats_value in struct stats_page; 0 = none */
};

enum http2_stream_wait {
    STREAM_WAIT_NONE,
    STREAM_WAIT_HEAD, /* for the response's */
    STREAM_WAIT_BODY, /* for more of it */
    STREAM_WAIT_WINDOW,
    STREAM_WAITS_N
};

struct http2_side {
    bool is_server;
    size_t limit_head_bytes, limit_head_fields; /* counters, as in struct http2_wait */
    size_t noise; /* one for every kind of noise; 0: each has its own */
    struct http2_wait stream_waits[STREAM_WAITS_N];

    deferred_fn *on_work; /* of http2_conn.work; outside of nghttp2, at the top of the stack */

    /* Inside of nghttp2. s may be NULL: a stream that is over. */
    int (*on_head_begins)(struct http2_conn *c, const nghttp2_frame *frame);
    void (*on_head)(struct http2_conn *c, struct http2_stream *s, const nghttp2_frame *frame);
    void (*on_head_invalid)(struct http2_conn *c, const nghttp2_frame *frame);
    void (*on_frame)(struct http2_conn *c, struct http2_stream *s, const nghttp2_frame *frame);
    /* The head in context->head is handed over, with what has come of the body. */
    void (*begin)(struct http2_stream *s, struct str body, bool is_end);
    /* nghttp2 has closed it: frees it, or sees to it that this is done. */
    void (*on_over)(struct http2_stream *s, uint32_t code);
    void (*on_end_sent)(struct http2_stream *s);

    /* What of the stream happens at the end of the tick, when nghttp2 has closed it. */
    void (*finish)(struct http2_stream *s);
    enum http2_stream_wait (*wait_of)(const struct http2_stream *s);
    void (*on_timeout)(struct http2_stream *s, enum http2_stream_wait wait);
};

struct http2_conn {
    struct http2_link link; /* first */
    const struct http2_side *side;
    struct stats_page *stats;
    struct timer timer;
    struct deferred work;
    struct list streams;
    struct list writable;      /* streams whose owner is to be told */
    struct http2_stream *held; /* its message's head is complete in context->head, not handed over
                                  yet: its first DATA may be right behind */
    struct buf kept_head;      /* of a header section that is not complete */
    size_t kept_head_n;        /* of it, as the budget knows it */
    struct http2_guard guard;
    struct http2_walk walk;
    uint32_t stream_n;       /* in streams */
    uint32_t continuation_n; /* frames of the present header section */
    size_t in_n;             /* bytes that streams keep for their owners */
    size_t out_n;            /* and for the peer */
    size_t frame_left;       /* of the DATA frame that is coming in, padding included */
    bool has_settings;       /* the peer's first SETTINGS have come */
    bool is_in_head;         /* a header section has begun */
    bool is_condemned;       /* GOAWAY with an error is on its way: nothing more is taken */
    bool is_cut;             /* the transport is closed, nghttp2 is not asked any more */
    bool is_over;            /* it waits for the end of the tick to be freed */
};

struct http2_stream {
    struct http_stream base; /* first */
    struct http2_conn *conn;
    struct list node, writable_node;
    struct timer timer;
    struct deferred work;
    int32_t id;
    enum http2_stream_wait wait;
    usec_t waits_since;
    struct buf in;  /* received, not pulled yet */
    struct buf out; /* accepted, not sent yet: from out_at */
    struct str now; /* the same, in the caller's memory, during a call */
    size_t out_at;
    size_t held_n, held_in_n, held_out_n; /* as the budget and the connection know it */
    uint64_t sent_n, marked_n;            /* bytes that went out; when the timer began */
    uint64_t in_n, in_length;             /* bytes of the body that came; that were announced */
    uint64_t out_left;
    size_t trailers_n;                        /* bytes of both blocks of trailers */
    struct field *trailers_in, *trailers_out; /* one block each, with their bytes, or NULL */
    uint32_t trailers_out_n;
    enum reason fault; /* why we have reset it; REASON_none: we have not */
    bool has_owner;    /* somebody to be told, until release or on_closed */
    bool is_calling;   /* inside a callback to the owner */
    bool is_pulled;
    bool is_send_blocked; /* the owner waits for on_writable */
    bool is_deferred;     /* nghttp2 waits for bytes of ours */
    bool is_in_ended;     /* the peer has ended its message */
    bool is_in_told;      /* and the owner knows */
    bool has_in_length, has_out_length;
    bool has_response; /* its head went, or came */
    bool is_out_ended; /* the owner has ended its message */
    bool is_trailed;   /* its trailers are on their way */
    bool is_end_sent;
    bool is_closed;  /* for nghttp2 it is gone */
    bool is_busy;    /* inside an operation of the owner's */
    bool is_head;    /* the method is HEAD */
    bool is_connect; /* RFC 8441 */
    bool is_tunnel;  /* and it stands */
    /* server */
    size_t head_n; /* bytes of the request's head, unpacked */
    bool owes_continue;
    bool is_grpc;
    /* client */
    bool is_begun;                       /* its HEADERS have left nghttp2 */
    bool is_reset;                       /* by the peer */
    bool is_unsent;                      /* with fault: nothing of it was processed */
    uint8_t interim_n;                   /* 1xx responses */
    uint64_t sent_before;                /* bytes on the connection before its HEADERS; at most */
    char accept[WEBSOCKET_ACCEPT_BYTES]; /* with is_connect: what the handshake is answered with */
    bool has_accept;
};

static inline struct http2_stream *http2_stream_of(struct http_stream *s)
{
    return container_of(s, struct http2_stream, base);
}

/* ---- conn.c ---- */

/* What nghttp2 is to call for connections of either side. Errors: E_NOMEM. */
enum err http2_calls_new(nghttp2_session_callbacks **ret);

/* c is cleared memory; the transport is the owner's to open before or after. on_broken and
 * on_flushed as in link.h. Errors: E_NOMEM; there is nothing to be undone then. */
enum err http2_conn_init(struct http2_conn *c, struct http2_context *context,
                         const struct http2_side *side, const struct http2_link_events *events,
                         const nghttp2_session_callbacks *calls, struct stats_page *stats);
/* Nothing is sent any more and nghttp2 is not asked; the transport stays, with what it tells of the
 * peer. Not inside of nghttp2. */
void http2_conn_cut(struct http2_conn *c);
/* Cuts it, if that was not done, and closes the transport; owners that want to know of the peer are
 * to be told before. Not inside of nghttp2. */
void http2_conn_close(struct http2_conn *c, bool has_reset);
/* Frees what it holds; at the end of a tick. */
void http2_conn_fini(struct http2_conn *c);

/* Runs the side's on_work() at the end of the tick. */
void http2_conn_defer(struct http2_conn *c);
/* The peer did what it must not: it is told by GOAWAY, then the connection ends. */
void http2_conn_condemn(struct http2_conn *c, uint32_t code);
/* One more of what the peer may do only so often. */
void http2_conn_noise(struct http2_conn *c, enum http2_noise noise);
/* The header section is more than we take. */
void http2_conn_count_head(struct http2_conn *c);

/* Feeds nghttp2 with first or, when that is empty, with what the socket has; *ret_n bytes. Errors:
 * as http2_link_receive(). */
enum err http2_conn_receive(struct http2_conn *c, struct str first, size_t *ret_n);
/* Notes what epoll says of a connected socket, and sends when it can. */
void http2_conn_on_event(struct http2_conn *c, uint32_t events);
/* Tells the owners of streams that can send again, then lets nghttp2 make frames. */
void http2_conn_pump(struct http2_conn *c);

/* on_received of struct http2_link_events: what nghttp2 passes over in silence. */
void http2_conn_on_received(struct http2_link *l, struct str bytes);

usec_t http2_wait_time(const struct http2_conn *c, const struct http2_wait *wait);
void http2_wait_count(const struct http2_conn *c, const struct http2_wait *wait);

/* ---- stream.c ---- */

/* Without a number yet. NULL: out of memory. */
struct http2_stream *http2_stream_new(struct http2_conn *c, const struct http_stream_ops *ops);
void http2_stream_free(struct http2_stream *s);
/* The free ones that the context keeps. */
void http2_streams_fini(struct http2_context *x);

/* Tells the owner, if there is one, that the stream broke. */
void http2_stream_break(struct http2_stream *s, enum reason why, bool is_unsent);
/* RST_STREAM, unless it is closed already. */
void http2_stream_reset(struct http2_stream *s, uint32_t code);
void http2_stream_defer(struct http2_stream *s);
/* The owner is done with it: nothing more is kept, neither way. */
void http2_stream_forget(struct http2_stream *s);

/* The windows grow by what has left our memory. */
void http2_stream_consume(struct http2_stream *s, size_t n);
void http2_stream_data(struct http2_stream *s, struct str data, bool is_end);
/* The header section in context->head stands behind the body. */
void http2_stream_trailers(struct http2_stream *s);
/* What was kept, as long as the owner asks. */
void http2_stream_serve(struct http2_stream *s);
/* The owner asks for more. */
void http2_stream_pull(struct http2_stream *s);

/* What the owner hands over. Errors: E_PROTO (not what was announced). */
enum err http2_stream_note(struct http2_stream *s, struct str data, bool is_end);
/* After that, once the head has gone: trailers that nothing stands before any more go at once.
 * They need no window (RFC 9113 section 5.2.1), but nghttp2 reads the end of a body only while
 * there is one. */
void http2_stream_trail(struct http2_stream *s);
/* After that: as much as possible goes, the rest is kept. Errors: E_AGAIN (it is), E_CLOSED,
 * E_NOMEM. */
enum err http2_stream_push(struct http2_stream *s);
/* As send_body of struct http_stream_ops. */
enum err http2_stream_send_body(struct http2_stream *s, struct str data, bool is_end);
/* For nghttp2: the body that is sent. */
nghttp2_data_provider http2_stream_body(struct http2_stream *s);
int http2_stream_on_send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head,
                              size_t n, nghttp2_data_source *source, void *user);
void http2_stream_writable(struct http2_stream *s);

void http2_stream_rearm(struct http2_stream *s);
void http2_stream_update_wait(struct http2_stream *s);
