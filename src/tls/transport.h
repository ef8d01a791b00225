/* tls/transport.h: TLS as a transport: the contract of event/transport.h over an SSL on a
 * non-blocking socket. Here is what both sides share; they are server.h and client.h.
 *
 * The handshake happens inside receive(); transport.is_open says that it is done. One receive()
 * reads the socket into a buffer that all connections of the loop share and decrypts from there, so
 * a request costs one recv() and one send(), as over plain TCP. An idle connection holds no buffer.
 *
 *   socket --recv--> shared buffer --OpenSSL asks for its bytes--> SSL --> the caller's memory
 *                        └── what does not fit any more waits in the connection's own memory
 *
 * Where OpenSSL wants to write in order to read, or the other way round, the event that comes is
 * handed to the owner as the one it waits for. An end that stands behind bytes is told by an event
 * of its own at the end of the tick. So the owner never knows. */
#pragma once

#include "event/transport.h"
#include "tls/context.h"

/* What the TLS connections of one loop share, whichever side. */
struct tls_shared {
    struct bio_method_st *method; /* OpenSSL's: the socket as it sees it */
    char *bytes;                  /* TLS_SHARED_BYTES */
};

enum {
    TLS_RECORD_BYTES_MAX = 5 + (1 << 14) + 256, /* RFC 8446 section 5.2, header included */
    TLS_SHARED_BYTES = 64 << 10,
    TLS_RECEIVE_BUDGET = 256 << 10, /* taken from the socket in one receive() */
    TLS_NEWS_MAX = 64, /* messages of TLS itself (tickets, new keys) without a byte between them */
};

/* Errors: E_NOMEM. */
enum err tls_shared_init(struct tls_shared *s);
/* After the last connection. */
void tls_shared_fini(struct tls_shared *s);

/* The protocol that ALPN has chosen: one bit, or 0. t is a TLS transport. */
unsigned tls_transport_alpn(const struct transport *t);
