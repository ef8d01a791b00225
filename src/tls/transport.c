/* An SSL between a socket and its owner, whichever side of TLS it is.
 *
 * bio_read() is the only place that reads the socket: a large piece into the loop's shared
 * buffer, of which OpenSSL then takes five bytes here and a record there. A short recv() has
 * emptied the socket, so OpenSSL is told to wait without a second call; edge-triggered epoll tells
 * when there is more. bio_write() sends each record as it is made; what the kernel does not take
 * stays in OpenSSL, and the owner comes again with the same bytes.
 *
 * Invariants: between two receive() the shared buffer holds nothing of this connection; after a
 * failure nothing is written any more, not even an alert; but a client that speaks HTTP without TLS
 * may be answered so. */
#include "tls/transport.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/bio.h>
#include <openssl/err.h>

#include "base/mem.h"
#include "tls/tls_priv.h"

enum { PLAIN_RECORD_BYTES = 1 << 14 };

static struct tls_conn *conn_of(const struct transport *t)
{
    return t->own;
}

/* ---- the socket, as OpenSSL sees it ---- */

/* Enough to fill what the caller has room for, once records are unpacked; at least a record. */
static size_t receive_size(const struct tls_conn *c)
{
    size_t n =
        c->room > 2 * TLS_RECORD_BYTES_MAX ? c->room - TLS_RECORD_BYTES_MAX : TLS_RECORD_BYTES_MAX;
    n = n < TLS_SHARED_BYTES ? n : TLS_SHARED_BYTES;
    return n < c->budget ? n : c->budget;
}

/* > 0: there is something in c->in; 0: the end; < 0: failed or E_AGAIN. */
static ssize_t socket_receive(struct tls_conn *c)
{
    size_t room = receive_size(c);
    /* Without anything for the owner an end must be met here, once its event has come: there is no
     * other. */
    if ((c->is_short && (c->got > 0 || !c->has_hangup)) || room == 0) {
        errno = EAGAIN;
        return -1;
    }
    ssize_t n = recv(c->transport->watch.fd, c->shared->bytes, room, 0);
    c->is_short = n > 0 && (size_t)n < room;
    c->transport->is_at_end = c->transport->is_at_end || n == 0;
    if (n > 0) {
        c->budget -= (size_t)n;
        c->in = str_make(c->shared->bytes, (size_t)n);
    }
    return n;
}

/* No record of TLS begins with a letter, and every request does: browsers are often sent to the
 * wrong port, and their users should be told. */
static void meet(struct tls_conn *c)
{
    c->is_plain = !c->has_met && !c->side->speaks_first && c->in.p[0] >= 'A' && c->in.p[0] <= 'Z';
    c->has_met = true;
}

static int bio_read(BIO *bio, char *p, int room)
{
    struct tls_conn *c = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (c->news_n > TLS_NEWS_MAX) { /* RFC 8446 section 4.6 sets no limit to them */
        return -1;
    }
    if (c->in.n == 0) {
        buf_reset(&c->rest); /* used up, if there was any */
        ssize_t n = socket_receive(c);
        if (n < 0 && errno == EAGAIN) {
            BIO_set_retry_read(bio);
        }
        if (n <= 0) {
            return (int)n;
        }
        meet(c);
        if (c->is_plain) {
            return -1;
        }
    }
    struct str piece = str_first(c->in, (size_t)room);
    mem_copy(p, piece.p, piece.n);
    c->in = str_from(c->in, piece.n);
    return (int)piece.n;
}

static int bio_write(BIO *bio, const char *p, int n)
{
    struct tls_conn *c = BIO_get_data(bio);
    int flags = MSG_NOSIGNAL | (c->has_more ? MSG_MORE : 0);
    ssize_t sent = send(c->transport->watch.fd, p, (size_t)n, flags);
    BIO_clear_retry_flags(bio);
    if (sent < 0 && errno == EAGAIN) {
        BIO_set_retry_write(bio);
    }
    if (sent > 0) {
        c->transport->sent_n += (size_t)sent;
    }
    return (int)sent;
}

static long bio_ctrl(BIO *bio, int command, long n, void *p)
{
    (void)bio;
    (void)n;
    (void)p;
    return command == BIO_CTRL_FLUSH; /* nothing is held back */
}

static BIO_METHOD *bio_method_new(void)
{
    BIO_METHOD *method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "lintel");
    if (method != NULL) {
        (void)BIO_meth_set_read(method, bio_read); /* these only store */
        (void)BIO_meth_set_write(method, bio_write);
        (void)BIO_meth_set_ctrl(method, bio_ctrl);
    }
    return method;
}

/* ---- failures ---- */

/* The end of the connection, as far as TLS is concerned. */
static enum err conn_break(struct tls_conn *c, enum err e)
{
    unsigned long code;
    c->fault = tls_errors_take_as(e, &code);
    if (c->fault != E_NOMEM) {
        c->trouble = tls_trouble_find(c, code);
    }
    if (c->side->broken != NULL) {
        c->side->broken(c);
    }
    return c->fault;
}

/* After a call of OpenSSL's that gave ret. */
static enum err conn_fault(struct tls_conn *c, int ret, bool is_send)
{
    int saved = errno;
    switch (SSL_get_error(c->ssl, ret)) {
    case SSL_ERROR_WANT_READ:
        c->send_wants_read = c->send_wants_read || is_send;
        return E_AGAIN;
    case SSL_ERROR_WANT_WRITE:
        c->receive_wants_write = c->receive_wants_write || !is_send;
        return E_AGAIN;
    case SSL_ERROR_ZERO_RETURN:
        c->transport->is_at_end = true;
        return c->is_shaken ? E_CLOSED : conn_break(c, E_PROTO);
    case SSL_ERROR_SYSCALL: /* the socket's, or an end without close_notify */
        (void)conn_break(c, c->is_plain || c->news_n > TLS_NEWS_MAX ? E_PROTO : E_SYS);
        errno = saved;
        return is_send && (saved == EPIPE || saved == ECONNRESET) ? E_CLOSED : c->fault;
    default:
        return conn_break(c, E_PROTO);
    }
}

/* Stale errors of others (libcurl) must not be taken for ours. */
static void errors_clear(void)
{
    if (ERR_peek_error() != 0) {
        ERR_clear_error();
    }
}

/* ---- events ---- */

static void finish_try(struct tls_conn *c);

static void on_info(const SSL *ssl, int where, int ret)
{
    struct tls_conn *c = SSL_get_app_data(ssl);
    (void)ret;
    c->is_shaken = c->is_shaken || (where & SSL_CB_HANDSHAKE_DONE) != 0;
}

/* Messages that carry nothing for the owner: tickets, new keys, wishes to renegotiate, alerts. */
static void on_message(int is_sent, int version, int type, const void *p, size_t n, SSL *ssl,
                       void *arg)
{
    struct tls_conn *c = arg;
    (void)version;
    (void)p;
    (void)n;
    (void)ssl;
    if (c->is_shaken && is_sent == 0 && (type == SSL3_RT_HANDSHAKE || type == SSL3_RT_ALERT)) {
        c->news_n++;
    }
}

static void on_again(struct deferred *d)
{
    struct tls_conn *c = container_of(d, struct tls_conn, again);
    c->on_event(&c->transport->watch, c->again_events);
}

static void conn_again(struct tls_conn *c, uint32_t events)
{
    c->again_events = events;
    loop_defer(c->transport->loop, &c->again, on_again);
}

static void on_socket(struct watch *w, uint32_t events)
{
    struct transport *t = container_of(w, struct transport, watch);
    struct tls_conn *c = conn_of(t);
    c->has_hangup = c->has_hangup || (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
    if ((events & EPOLLOUT) != 0 && c->receive_wants_write) {
        c->receive_wants_write = false;
        events |= EPOLLIN;
    }
    if ((events & EPOLLIN) != 0 && c->send_wants_read) {
        c->send_wants_read = false;
        events |= EPOLLOUT;
    }
    if ((events & EPOLLOUT) != 0 && c->wants_finish) {
        finish_try(c);
    }
    c->on_event(w, events); /* c may be gone now */
}

/* ---- receiving ---- */

/* True when SSL_read() could only learn that there is nothing. */
static bool is_spent(const struct tls_conn *c)
{
    return c->is_short && c->in.n == 0 && SSL_has_pending(c->ssl) == 0;
}

static enum err read_some(struct tls_conn *c, char *p, size_t room, size_t *ret_n)
{
    size_t n = 0, piece;
    enum err e = E_OK;
    while (e == E_OK && n < room && (n == 0 || !is_spent(c))) {
        c->room = room - n;
        c->got = n;
        int ok = SSL_read_ex(c->ssl, p + n, room - n, &piece);
        if (ok == 1) {
            n += piece;
            c->news_n = 0;
            c->has_received = true;
        } else {
            e = conn_fault(c, ok, false);
        }
    }
    *ret_n = n;
    return e;
}

/* What OpenSSL has not taken moves out of the shared buffer. */
static enum err rest_keep(struct tls_conn *c)
{
    if (c->rest.n > 0) { /* in is its end */
        buf_drop(&c->rest, c->rest.n - c->in.n);
    } else if (c->in.n > 0) {
        buf_add_str(&c->rest, c->in);
    }
    if (c->rest.bad) {
        return conn_break(c, E_NOMEM);
    }
    if (c->rest.n == 0 && c->rest.p != NULL) {
        buf_fini(&c->rest);
    }
    c->in = STR_EMPTY;
    return E_OK;
}

static enum err note_open(struct tls_conn *c)
{
    struct transport *t = c->transport;
    if (t->is_open || !SSL_is_init_finished(c->ssl)) {
        return E_OK;
    }
    enum err e = c->side->shaken(c);
    if (e != E_OK) {
        return conn_break(c, e);
    }
    t->is_open = true;
    return E_OK;
}

/* The socket stands. */
static enum err conn_begin(struct tls_conn *c)
{
    if (c->has_begun) {
        return E_OK;
    }
    c->has_begun = true;
    c->begun_at = clock_monotonic();
    enum err e = c->side->begin == NULL ? E_OK : c->side->begin(c);
    return e == E_OK ? E_OK : conn_break(c, e);
}

/* A handshake costs a signature: it may have to wait for its turn. */
static bool may_go_on(struct tls_conn *c)
{
    return c->is_shaken || c->side->may_shake == NULL || c->side->may_shake(c);
}

static enum err tls_receive(struct transport *t, void *p, size_t room, size_t *ret_n)
{
    struct tls_conn *c = conn_of(t);
    size_t n;
    if (c->is_plain) {
        return transport_plain_ops.receive(t, p, room, ret_n);
    }
    if (c->fault != E_OK) {
        errno = ECONNRESET; /* told before, or together with the last bytes */
        return c->fault;
    }
    errors_clear();
    TRY(conn_begin(c));
    if (!may_go_on(c)) {
        return E_AGAIN;
    }
    c->is_short = false;
    c->budget = TLS_RECEIVE_BUDGET;
    c->in = buf_str(&c->rest);
    enum err e = read_some(c, p, room, &n);
    TRY(rest_keep(c));
    TRY(note_open(c));
    if (n == 0) {
        if (e == E_AGAIN && c->budget == 0) {
            conn_again(c, EPOLLIN); /* bytes that carry nothing: let others have their turn */
        }
        return e;
    }
    if (n < room && (c->budget == 0 || (e != E_OK && e != E_AGAIN))) {
        /* The owner waits for an event now, but the socket may have told all it has. */
        conn_again(c, e == E_OK || e == E_AGAIN ? EPOLLIN : EPOLLIN | EPOLLRDHUP);
    }
    *ret_n = n;
    return E_OK;
}

/* ---- sending ---- */

/* The next record's bytes, from the parts behind sent: as they lie there, or put together. */
static struct str next_record(const struct tls_conn *c, const struct iovec *parts, int part_n,
                              size_t sent)
{
    size_t n = 0;
    for (int i = 0; i < part_n && n < PLAIN_RECORD_BYTES; i++) {
        size_t skip = sent < parts[i].iov_len ? sent : parts[i].iov_len;
        struct str part = {(const char *)parts[i].iov_base + skip, parts[i].iov_len - skip};
        sent -= skip;
        if (n == 0 && (part.n >= PLAIN_RECORD_BYTES || i + 1 == part_n)) {
            return str_first(part, PLAIN_RECORD_BYTES);
        }
        part = str_first(part, PLAIN_RECORD_BYTES - n);
        mem_copy(c->shared->bytes + n, part.p, part.n);
        n += part.n;
    }
    return str_make(c->shared->bytes, n);
}

static enum err tls_send(struct transport *t, struct iovec *parts, int part_n, size_t *ret_n)
{
    struct tls_conn *c = conn_of(t);
    size_t sent = 0, total = 0, n;
    enum err e = E_OK;
    if (c->is_plain) {
        return transport_plain_ops.send(t, parts, part_n, ret_n);
    }
    if (c->fault != E_OK) {
        return E_CLOSED;
    }
    for (int i = 0; i < part_n; i++) {
        total += parts[i].iov_len;
    }
    errors_clear();
    while (e == E_OK && sent < total) {
        struct str record = next_record(c, parts, part_n, sent);
        c->has_more = sent + record.n < total;
        int ok = SSL_write_ex(c->ssl, record.p, record.n, &n);
        if (ok == 1) {
            sent += n;
        } else {
            e = conn_fault(c, ok, true);
        }
    }
    c->has_more = false;
    if (e == E_OK || e == E_AGAIN) {
        *ret_n = sent;
    }
    return e;
}

/* ---- the end ---- */

/* RFC 8446 section 6.1: close_notify says that nothing is missing. */
static bool notify_try(struct tls_conn *c)
{
    if (c->fault != E_OK || !c->transport->is_open) {
        return true; /* there is nobody to tell */
    }
    errors_clear();
    int ok = SSL_shutdown(c->ssl);
    bool is_blocked = ok < 0 && SSL_get_error(c->ssl, ok) == SSL_ERROR_WANT_WRITE;
    (void)tls_errors_take(E_OK); /* a notice that cannot be sent is none */
    return !is_blocked;
}

static void finish_try(struct tls_conn *c)
{
    c->wants_finish = !notify_try(c);
    if (!c->wants_finish) {
        transport_plain_ops.finish(c->transport);
    }
}

static void tls_finish(struct transport *t)
{
    finish_try(conn_of(t));
}

static uint64_t tls_taken(struct transport *t)
{
    return transport_plain_ops.taken(t);
}

static enum reason tls_why(const struct transport *t, const char **ret_text)
{
    const struct tls_conn *c = conn_of(t);
    if (c->trouble.reason != REASON_none) {
        *ret_text = c->trouble.text;
    }
    return c->trouble.reason;
}

static watch_fn *tls_adopt(struct transport *t, watch_fn *on_event)
{
    struct tls_conn *c = conn_of(t);
    c->transport = t;
    c->on_event = on_event;
    return on_socket;
}

static void conn_free(struct tls_conn *c)
{
    if (c->side->closing != NULL) {
        c->side->closing(c);
    }
    loop_undefer(&c->again);
    SSL_free(c->ssl);
    buf_fini(&c->rest);
    mem_free(c);
}

static void tls_close(struct transport *t, bool has_reset)
{
    struct tls_conn *c = conn_of(t);
    if (c != NULL) {
        if (!has_reset && (SSL_get_shutdown(c->ssl) & SSL_SENT_SHUTDOWN) == 0) {
            (void)notify_try(c); /* no second try: nobody waits for it */
        }
        t->own = NULL;
        conn_free(c);
    }
    transport_plain_ops.close(t, has_reset);
}

static const struct transport_ops tls_ops = {
    .receive = tls_receive,
    .send = tls_send,
    .taken = tls_taken,
    .why = tls_why,
    .finish = tls_finish,
    .adopt = tls_adopt,
    .close = tls_close,
};

/* ---- life ---- */

static enum err ssl_make(struct tls_conn *c, SSL_CTX *context)
{
    c->ssl = SSL_new(context);
    BIO *bio = c->ssl == NULL ? NULL : BIO_new(c->shared->method);
    if (bio == NULL || SSL_set_app_data(c->ssl, c) != 1) {
        (void)BIO_free(bio);
        return tls_errors_take(E_NOMEM);
    }
    BIO_set_data(bio, c);
    BIO_set_init(bio, 1);
    SSL_set_bio(c->ssl, bio, bio);
    SSL_set_info_callback(c->ssl, on_info);
    SSL_set_msg_callback(c->ssl, on_message);
    (void)SSL_set_msg_callback_arg(c->ssl, c); /* only stores */
    if (c->side->speaks_first) {
        SSL_set_connect_state(c->ssl);
        c->receive_wants_write = true; /* with the first EPOLLOUT: the socket stands */
    } else {
        SSL_set_accept_state(c->ssl);
    }
    return E_OK;
}

enum err tls_conn_open(struct tls_conn *c, SSL_CTX *context, struct transport *t, struct loop *loop,
                       int fd, watch_fn *on_event)
{
    c->transport = t;
    c->on_event = on_event;
    buf_init(&c->rest, TLS_SHARED_BYTES);
    enum err e = ssl_make(c, context);
    if (e != E_OK) {
        (void)close(fd); /* ours by contract */
        conn_free(c);
        return e;
    }
    e = transport_plain_open(t, loop, fd, on_socket);
    if (e != E_OK) {
        conn_free(c);
        return e;
    }
    t->ops = &tls_ops;
    t->own = c;
    t->is_open = false;
    return E_OK;
}

enum err tls_shared_init(struct tls_shared *s)
{
    *s = (struct tls_shared){.method = bio_method_new(), .bytes = mem_alloc(TLS_SHARED_BYTES)};
    if (s->method == NULL || s->bytes == NULL) {
        tls_shared_fini(s);
        return tls_errors_take(E_NOMEM);
    }
    return E_OK;
}

void tls_shared_fini(struct tls_shared *s)
{
    BIO_meth_free(s->method);
    mem_free(s->bytes);
    *s = (struct tls_shared){0};
}

/* ---- what was agreed on ---- */

unsigned tls_transport_alpn(const struct transport *t)
{
    const unsigned char *name;
    unsigned n;
    SSL_get0_alpn_selected(conn_of(t)->ssl, &name, &n);
    struct str chosen = str_make((const char *)name, n);
    for (size_t i = 0; i < TLS_PROTOCOLS_N; i++) {
        if (str_eq(chosen, str_from(tls_protocols[i].name, 1))) {
            return tls_protocols[i].bit;
        }
    }
    return 0;
}
