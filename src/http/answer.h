/* http/answer.h: the responses that Lintel makes itself: small, negotiated between plain text,
 * JSON and HTML, carrying their reason. */
#pragma once

#include "base/reason.h"
#include "http/message.h"

enum { ANSWER_BODY_MAX = 320, ANSWER_FIELDS_MAX = 6 };

struct http_answer { /* response points into the struct: do not copy it */
    struct http_response response;
    struct str body; /* to be sent, unless the request was HEAD */
    struct field fields[ANSWER_FIELDS_MAX];
    char text[ANSWER_BODY_MAX];
    char date[32];
};

/* status 0: the reason's own. accept: the request's Accept, may be empty. location: for redirects,
 * else empty; borrowed. now_s: wall clock, for Date. */
void http_answer_make(struct http_answer *a, enum reason why, uint16_t status, struct str accept,
                      struct str location, int64_t now_s);
/* The same for a request of gRPC, whose content-type is type: status 200 with the code and the text
 * of the reason in the head, which is all. */
void http_answer_make_grpc(struct http_answer *a, enum reason why, uint16_t status, struct str type,
                           int64_t now_s);
/* The reason phrase of RFC 9110 for a status; empty for an unknown one. */
struct str http_status_text(uint16_t status);
