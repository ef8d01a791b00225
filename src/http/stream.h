/* http/stream.h: the seam between protocols and the exchange. A stream is one request and its
 * response on a connection, client side or upstream side, in any protocol version.
 *
 *   server protocol ──on_request──> handler ──opens──> client protocol stream
 *        <──send_response, send_body──  exchange  ──send_request, send_body──>
 *        ──on_body, on_writable, on_closed──>     <──on_response, on_body, on_writable, on_closed──
 *
 * Bodies are pulled: pull() asks for one delivery (on_body); no pull, no read: backpressure is the
 * absence of a call. Sending takes all bytes at once; E_AGAIN says the peer is slow: wait for
 * on_writable before sending more. Callbacks never nest: a pull inside a callback is answered after
 * it returns. */
#pragma once

#include "base/clock.h"
#include "base/err.h"
#include "base/list.h"
#include "base/reason.h"
#include "http/message.h"

struct http_stream;

/* What a protocol tells the stream's owner. Data is borrowed during the call. */
struct http_stream_events {
    /* Upstream side only: the response head, with what has come of the body; is_end: that is all.
     */
    void (*on_response)(struct http_stream *s, const struct http_response *r, struct str body,
                        bool is_end);
    /* Upstream side only: an interim response other than 100, any number before the real one. */
    void (*on_interim)(struct http_stream *s, const struct http_response *r);
    /* Answer to a pull(). is_end: the message is complete; data may be empty then. */
    void (*on_body)(struct http_stream *s, struct str data, bool is_end);
    /* Everything handed over has been sent; only after a send gave E_AGAIN. */
    void (*on_writable)(struct http_stream *s);
    /* The stream broke; it is gone when this returns, no call on it is allowed. is_unsent: upstream
     * side only: surely no byte of the request was processed (connect failed, or a kept-alive
     * connection was found dead before any byte of a response). */
    void (*on_closed)(struct http_stream *s, enum reason why, bool is_unsent);
    /* Upstream side only, or NULL: any number. How many bytes of the response to read at once. */
    size_t (*room)(struct http_stream *s);
};

struct http_stream_ops {
    /* Upstream side: once. The head is copied or sent. E_OK, E_AGAIN as above. */
    enum err (*send_request)(struct http_stream *s, const struct http_request *r, struct str body,
                             bool is_end);
    /* Server side: once; body is its first piece. E_LIMIT: this head cannot be passed on, and
     * nothing of it went: another response may be sent. */
    enum err (*send_response)(struct http_stream *s, const struct http_response *r, struct str body,
                              bool is_end);
    /* Server side: an interim response; best effort. */
    void (*send_interim)(struct http_stream *s, const struct http_response *r);
    enum err (*send_body)(struct http_stream *s, struct str data, bool is_end);
    /* Server side, or NULL: any number. How many bytes of a body are welcome at once; never 0. Less
     * where many streams share a connection that takes nothing: what they send is kept. */
    size_t (*room)(struct http_stream *s);
    void (*pull)(struct http_stream *s);
    /* The owner is done with the stream; no callback follows, s must not be used. When both
     * messages are complete the connection goes on; otherwise it is cut so that the peer can tell.
     */
    void (*release)(struct http_stream *s);
};

/* Fields behind a body: RFC 9110 section 6.5. */
struct http_trailers {
    const struct field *fields;
    uint32_t n;
};

struct http_stream {
    const struct http_stream_ops *ops;
    const struct http_stream_events
        *events; /* set by the owner before it returns to the protocol */
    void *owner;
    struct http_trailers received; /* valid in the callback that says is_end */
    struct http_trailers to_send;  /* set by the owner before it sends the end; left out where the
                                      protocol has no place for them */
    enum reason cut_by; /* server side: set by the owner before it releases a response that has no
                           end, so that the peer can be told; REASON_none: unknown */
    usec_t connected; /* upstream side: when its connection came to stand (monotonic); 0: before the
                         stream was opened, or not yet */
};

/* Who serves requests: the proxy in a worker, the health port in the controller. Must take the
 * stream: set events and owner, then answer now or later. */
struct http_handler {
    void (*on_request)(struct http_handler *h, struct http_stream *s, const struct http_request *r,
                       struct str body, bool is_end);
    /* Bytes came that did not become a request; the protocol has answered by itself where that is
     * possible. start: how they begin. For the log and the counters. */
    void (*on_rejected)(struct http_handler *h, const struct http_peer *peer, struct str start,
                        enum reason why);
};

/* ---- upstream connections, as a pool sees them ---- */

struct http_conn;

struct http_conn_ops {
    /* A stream on it; stream_n < stream_max holds. Also while connecting. NULL: out of memory. */
    struct http_stream *(*open)(struct http_conn *c);
    /* Ends it; its streams get on_closed; on_closed of the connection does not follow. */
    void (*close)(struct http_conn *c);
};

struct http_conn_events {
    void (*on_connected)(struct http_conn *c);
    /* stream_n fell; stream_max says whether the connection takes another stream. */
    void (*on_free)(struct http_conn *c);
    /* stream_max has changed: by what the peer allows; 0: it goes away with its last stream. */
    void (*on_capacity)(struct http_conn *c);
    /* It is gone when this returns. has_connected: false when the connect failed. */
    void (*on_closed)(struct http_conn *c, enum reason why, bool has_connected);
};

struct http_conn {
    const struct http_conn_ops *ops;
    const struct http_conn_events *events;
    void *owner;
    struct list link, idle_link; /* the owner's */
    usec_t opened_at;            /* the owner's */
    struct http_dialer *dialer;  /* the owner's: whose it is */
    uint32_t use_n;              /* the owner's */
    bool has_stood;              /* the owner's: it is not only being connected */
    uint32_t stream_n, stream_max;
};

/* Opens connections in one way of speaking to endpoints: protocol version, TLS, what else there is.
 */
struct http_dialer {
    /* Starts connecting; the outcome comes by events, never during the call. Errors: E_NOMEM,
     * E_LIMIT (descriptors), E_REFUSED (at once), E_PROTO (what speaking to them takes is not
     * there), E_SYS. */
    enum err (*dial)(struct http_dialer *d, const struct ip *ip, uint16_t port,
                     const struct http_conn_events *events, void *owner, struct http_conn **ret);
    uint32_t conn_n; /* connections that still refer to it, kept by who implements dial: while there
                        is one, the dialer must stay */
};
