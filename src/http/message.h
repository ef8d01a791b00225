/* http/message.h: requests and responses without a protocol version: what HTTP/1, HTTP/2 and HTTP/3
 * are parsed into and emitted from. All strs are borrowed from whoever made the message; they are
 * valid during the call that carries it. */
#pragma once

#include "wire/field.h"
#include "wire/ip.h"

enum http_body {
    HTTP_BODY_NONE,   /* the message has no body */
    HTTP_BODY_LENGTH, /* body_n bytes, told in advance; 0 is possible */
    HTTP_BODY_STREAM, /* until it ends */
};

struct transport_tls; /* event/transport.h */

/* The client connection a request came on; lives as long as the connection. What a PROXY header
 * tells takes the place of the connection's own addresses. */
struct http_peer {
    struct ip ip;
    uint16_t port;       /* the client's */
    uint16_t local_port; /* ours */
    struct ip local_ip;  /* ours, when a PROXY header told; else family 0: the socket knows */
    bool is_tls;
    bool is_tls_ahead;               /* to a proxy in front of us, whose PROXY header says so */
    const struct transport_tls *tls; /* once the handshake is done; NULL: plain, or not told */
    struct str listener;             /* name */
};

struct snapshot_segment;

/* Where a connection goes whose bytes are passed on as they are; lives as long as its stream. */
struct http_tunnel {
    struct str service; /* key of its SNAP_SERVICE shard */
    uint64_t service_hash;
    struct snapshot_segment *segment; /* which service lies in: ref it to keep that */
};

struct http_request {
    struct str head; /* the bytes that all strs below point into: copy it, shift them */
    struct str method;
    struct str authority;       /* host[:port] as received; may be empty in HTTP/1.0 */
    struct str target;          /* path and query as received, in origin form; "*" */
    const struct field *fields; /* without pseudo-fields; includes host when the protocol had it */
    uint32_t field_n;
    enum http_body body;
    uint64_t body_n;
    uint8_t version;    /* 10, 11, 20, 30; 0: a tunnel; for logs only */
    bool is_head;       /* method HEAD: the response has no body */
    struct str upgrade; /* the protocols it asks to switch to; empty = none */
    bool expects_other; /* an Expect that nobody here can meet */
    const struct http_peer *peer;
    const struct http_tunnel *tunnel; /* not NULL: no request at all, but bytes both ways until both
                                         sides have ended; what is above is for logs */
};

struct http_response {
    uint16_t status;
    const struct field *fields;
    uint32_t field_n;
    enum http_body
        body; /* NONE: content-length among the fields is forwarded as it is (HEAD, 304) */
    uint64_t body_n;
    bool is_tunnel; /* status 101, or none: from here on both sides' bodies are bytes without a
                       frame */
    bool is_last;   /* our side: no further request on this connection after it */
};

/* The value of the first field of that id, or name for FIELD_OTHER; false when there is none. */
bool http_field_get(const struct field *fields, uint32_t n, enum field_name id, struct str *ret);
bool http_field_find(const struct field *fields, uint32_t n, struct str name, struct str *ret);
/* Fields that end at a proxy: RFC 9110 section 7.6.1, plus those that Connection names
 * (is_named_by_connection()). */
bool http_field_is_hop_by_hop(enum field_name id);
