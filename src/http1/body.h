/* http1/body.h: message bodies on an HTTP/1 connection: where one ends on the way in, how one is
 * framed on the way out. RFC 9112 sections 6 and 7. Private to http1/. */
#pragma once

#include "http/stream.h"
#include "http1/channel.h"
#include "wire/http1.h"

struct body_in {
    enum h1_body kind;
    bool is_done;
    uint64_t left; /* with H1_BODY_LENGTH */
    struct h1_chunked chunked;
    struct str trailers; /* with is_done: the trailer section, in the bytes that were taken */
};

void body_in_start(struct body_in *b, enum h1_body kind, uint64_t n);
/* Takes what belongs to the body from the front of *bytes: *ret_data is the data, moved together
 * over the chunk framing in place; b->is_done says whether the body ends there. A trailer section
 * that is not all there yet stays in *bytes. Errors: E_PROTO. */
enum err body_in_take(struct body_in *b, struct str *bytes, struct str *ret_data,
                      enum h1_fault *ret_fault);
/* The peer has ended its side: E_OK when that is how this body ends, else E_CLOSED (cut short). */
enum err body_in_end(struct body_in *b);

/* The trailers of a body, for the callback that says that it is done; none before. They lie in the
 * context's fields until the next head is parsed. */
struct http_trailers body_in_trailers(const struct body_in *b, struct http1_context *context);

/* How a body goes out. */
struct body_out {
    enum { BODY_OUT_NONE, BODY_OUT_PLAIN, BODY_OUT_CHUNKED } coding;
    bool is_done;
    uint64_t left; /* PLAIN with has_length: bytes still owed */
    bool has_length;
};

enum { BODY_PARTS = 6, CHUNK_HEAD_BYTES = 20 };

/* Room for what body_out_frame() points to. */
struct body_frame {
    char chunk_head[CHUNK_HEAD_BYTES];
};

/* Adds the parts that carry data to parts and, when is_end, the end with the lines of trailers.
 * Data that would exceed the announced length is E_PROTO, an end before it too. */
enum err body_out_frame(struct body_out *b, struct str data, bool is_end, struct str trailers,
                        struct body_frame *frame, struct iovec *parts, int *part_n);
