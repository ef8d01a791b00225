/* tcp/end.h: one end of a tunnel: a connection whose bytes go on as they are, seen as a struct
 * http_stream. The client's end and the endpoint's are the same machine; the exchange between them
 * pulls from one and sends to the other. Received into the loop's one buffer, sent at once; what
 * does not fit is held, so an end at rest owns no buffer. Private to tcp/. */
#pragma once

#include "base/buf.h"
#include "event/transport.h"
#include "http/stream.h"
#include "tcp/context.h"

/* What the end waits for; each has a named timeout. */
enum tcp_wait {
    TCP_WAIT_NONE, /* the other end is at work, and timed */
    TCP_WAIT_CONNECT,
    TCP_WAIT_ROOM,  /* for the peer to take what is held */
    TCP_WAIT_BYTES, /* from the peer; or for anything to be sent to it */
    TCP_WAITS_N
};

enum tcp_state {
    TCP_CONNECTING, /* what is sent is held */
    TCP_OPEN,
    TCP_DEAD /* waits for the end of the tick to be freed */
};

struct tcp_end;

struct tcp_end_ops {
    /* An event while CONNECTING: true when it stands now. */
    bool (*on_connecting)(struct tcp_end *e, uint32_t events);
    /* It broke, and is DEAD: tells whoever needs to know. */
    void (*on_broken)(struct tcp_end *e, enum reason why);
    /* It is DEAD, however that came: out of every list. NULL: it is in none. */
    void (*on_over)(struct tcp_end *e);
    enum reason broken; /* what it is called when the peer breaks the connection */
    bool is_client;     /* its bytes are counted */
};

struct tcp_end {
    struct transport transport; /* first: an event's watch leads back to it */
    struct tcp_context *context;
    const struct tcp_end_ops *ops;
    struct http_stream stream; /* events is NULL while nobody holds it */
    struct buf out;            /* accepted for sending, not sent yet */
    size_t held_n;             /* of it, as the budget knows */
    uint64_t taken_n;          /* by the peer, when that was last looked at */
    struct timer timer;
    struct deferred work;
    enum tcp_state state;
    enum tcp_wait wait;
    bool is_calling;      /* inside a callback to the owner: work waits until it returns */
    bool is_pulled;       /* the owner waits for on_body */
    bool is_send_blocked; /* the owner waits for on_writable */
    bool is_readable;     /* the socket may have bytes (or an end) we have not seen */
    bool has_hangup;      /* epoll has told of the end or an error, once: read until it is met */
    bool is_send_broken;  /* the peer takes no more; what it sent before is still read */
    bool is_in_done;      /* the peer's half has ended */
    bool is_out_done;     /* so has ours, when everything is sent */
    bool is_finished;     /* and the peer has been told */
};

/* Makes e an end whose transport is to be opened next, with tcp_end_on_event. */
void tcp_end_init(struct tcp_end *e, struct tcp_context *context, const struct tcp_end_ops *ops,
                  const struct http_stream_ops *stream_ops, enum tcp_state state);
watch_fn tcp_end_on_event;
/* Chooses what is waited for, by the state it is in, and begins to wait. */
void tcp_end_wait(struct tcp_end *e);
/* Reads as long as it is pulled and there is something, for a while; the rest by deferred work. */
void tcp_end_run(struct tcp_end *e);
/* Sends what is held; tells the owner when it waits for that. */
void tcp_end_flush(struct tcp_end *e);
/* Breaks the connection: on_broken, on_over. Nothing when it is over already. */
void tcp_end_break(struct tcp_end *e, enum reason why);
/* Ends it without telling anybody but on_over. */
void tcp_end_kill(struct tcp_end *e, bool has_reset);

/* Operations of struct http_stream, as there. */
enum err tcp_end_send_body(struct http_stream *s, struct str data, bool is_end);
void tcp_end_pull(struct http_stream *s);
/* Unless both halves have ended and all is sent, the peer sees a reset. */
void tcp_end_release(struct http_stream *s);

static inline struct tcp_end *tcp_end_of(struct http_stream *s)
{
    return container_of(s, struct tcp_end, stream);
}
