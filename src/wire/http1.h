/* wire/http1.h: HTTP/1 message heads and the chunked coding, strict by RFC 9112: pure functions
 * over bytes. What request smuggling needs is refused, with the reason. No I/O, no policy (which
 * fields are forwarded is the proxy's business). */
#pragma once

#include "base/err.h"
#include "wire/field.h"

/* Why a message was refused; h1_fault_text() for logs and counters. */
enum h1_fault {
    H1_FAULT_NONE = 0,
    H1_FAULT_METHOD,      /* request line: not a token, or empty */
    H1_FAULT_LINE,        /* request line: not three parts with one SP between */
    H1_FAULT_TARGET_LONG, /* over TARGET_BYTES_MAX: 414 */
    H1_FAULT_TARGET,     /* empty, control or non-ASCII bytes, '#', or not the form of its method */
    H1_FAULT_VERSION,    /* not HTTP/1.0 or HTTP/1.1 in exactly that form */
    H1_FAULT_STATUS,     /* response line */
    H1_FAULT_LINE_END,   /* bare CR, bare LF, NUL */
    H1_FAULT_FIELD_NAME, /* not a token, blank before the colon, no colon */
    H1_FAULT_FIELD_VALUE,   /* control bytes */
    H1_FAULT_FOLDED,        /* obsolete line folding */
    H1_FAULT_HOST,          /* missing in HTTP/1.1, twice, or not a host[:port] */
    H1_FAULT_LENGTH,        /* Content-Length: not digits, over 2^63-1, a list or repeated */
    H1_FAULT_TE_AND_LENGTH, /* both Transfer-Encoding and Content-Length */
    H1_FAULT_TE,            /* Transfer-Encoding other than exactly "chunked", or in HTTP/1.0 */
    H1_FAULT_TOO_MANY_FIELDS,
    H1_FAULT_CHUNK, /* chunk size line or chunk end */
    H1_FAULT_TRAILER,
    H1_FAULTS_N
};
const char *h1_fault_text(enum h1_fault fault);

/* Finding the end of a head that comes in pieces; zero it before the first call. */
struct h1_scan {
    size_t at;       /* bytes looked at so far */
    uint32_t line_n; /* line ends seen: an upper bound for the number of fields */
};
/* Looks at p[s->at..n). E_OK: the head is the first *ret_head_n bytes (blank line included);
 * E_AGAIN: not all there; E_PROTO: cannot become a head (the first byte is not one a request or
 * status line begins with, or a NUL, bare CR or bare LF was seen). Each byte is looked at once over
 * all calls. One empty line before the first line belongs to the head (RFC 9112 section 2.2); a
 * second one is E_PROTO. */
enum err h1_head_scan(struct h1_scan *s, const char *p, size_t n, size_t *ret_head_n);

/* How the length of the body is told. RFC 9112 section 6.3. */
enum h1_body {
    H1_BODY_NONE,
    H1_BODY_LENGTH,
    H1_BODY_CHUNKED,
    H1_BODY_UNTIL_CLOSE, /* responses only */
};

struct h1_request {
    struct str method, target; /* target as received */
    struct str host;           /* Host field value, or the authority of the target */
    uint8_t minor;             /* HTTP/1.minor */
    bool is_keep_alive;        /* by version and Connection */
    bool has_upgrade;          /* Connection: upgrade, and an Upgrade field */
    bool expects_continue;
    bool expects_other; /* some other expectation: to be answered 417 */
    enum h1_body body;
    uint64_t body_n; /* with H1_BODY_LENGTH */
    uint32_t field_n;
};

/* Parses a whole head (h1_head_scan()). All strs point into p. fields has room for field_max.
 * The target is in origin or absolute form; "*" with OPTIONS only; host:port with CONNECT only (its
 * host is the target): the caller says what it does not serve. host is empty or one that
 * host_parse() takes. Errors: E_PROTO with *ret_fault; of the outputs only fields may be written
 * then. */
enum err h1_request_parse(const char *p, size_t n, struct field *fields, uint32_t field_max,
                          struct h1_request *ret, enum h1_fault *ret_fault);

struct h1_response {
    uint16_t status; /* 100..599 */
    struct str reason;
    uint8_t minor;
    bool is_keep_alive;
    enum h1_body body; /* for this request method and status: HEAD, 1xx, 204, 304 have none */
    uint64_t body_n;   /* with H1_BODY_LENGTH */
    uint32_t field_n;
};

/* As above, but no empty line before the status line. is_head: the request was HEAD. */
enum err h1_response_parse(const char *p, size_t n, bool is_head, struct field *fields,
                           uint32_t field_max, struct h1_response *ret, enum h1_fault *ret_fault);

/* True when the comma-separated list value holds token, case-insensitively. */
bool h1_list_has(struct str value, struct str token);

/* Decoding a chunked body that comes in pieces; zero it before the first call. */
struct h1_chunked {
    enum {
        H1_CHUNK_SIZE,
        H1_CHUNK_EXT,
        H1_CHUNK_SIZE_LF,
        H1_CHUNK_DATA,
        H1_CHUNK_DATA_CR,
        H1_CHUNK_DATA_LF,
        H1_CHUNK_TRAILER,
        H1_CHUNK_DONE
    } state;
    uint64_t left;   /* data bytes of this chunk still to come */
    uint32_t line_n; /* bytes of the present size line or of the trailer section, CRLF included */
    uint8_t digit_n;
    uint8_t place; /* within an extension or the trailer section */
};
/* Consumes bytes from *p up to the next run of data. E_OK: *ret_data is such a run (maybe empty at
 * the end of the body: then c->state is H1_CHUNK_DONE and *p stands behind the last byte of the
 * message); E_AGAIN: all of *p is consumed, no data in it; E_PROTO: malformed (CHUNK_LINE_BYTES_MAX
 * and TRAILER_BYTES_MAX included). Trailer fields are checked and passed over. */
enum err h1_chunked_next(struct h1_chunked *c, struct str *p, struct str *ret_data,
                         enum h1_fault *ret_fault);

/* The trailer section of a body that has just become H1_CHUNK_DONE at behind: its bytes, the blank
 * line included, as far as they lie in the same memory, which reaches back to start; else empty. */
struct str h1_chunked_trailers(const struct h1_chunked *c, const char *start, const char *behind);
/* Takes a body that stands in its trailer section back to where that begins, so that the section
 * can be had in one piece when more has come; *p grows to the left. False when it does not begin in
 * this memory, which reaches back to start. */
bool h1_chunked_rewind(struct h1_chunked *c, const char *start, struct str *p);
/* The fields of a trailer section. Returns how many; 0 for what is malformed or too many. */
uint32_t h1_trailers_parse(struct str section, struct field *fields, uint32_t field_max);
