/* proxy/forward.h: which fields go on to the next hop, and which are added. Private to proxy/.
 * RFC 9110 section 7.6; the added ones as ingress-nginx sends them. */
#pragma once

#include "http/message.h"

enum { FORWARD_ADDED_MAX = 10, FORWARD_TEXT_MAX = 2 * IP_TEXT_MAX + 16, REQUEST_ID_BYTES = 32 };

struct forward_text { /* what added fields point to */
    char client[IP_TEXT_MAX];
    char port[8];
};

/* Writes the fields of r that go on to out (room: r->field_n + FORWARD_ADDED_MAX) and those that
 * are added; returns how many. request_id: the one to send. What comes from a client about itself
 * (X-Forwarded-*, X-Real-IP ...) is not believed: it is replaced. text must outlive out. */
uint32_t forward_request_fields(const struct http_request *r, struct str request_id,
                                struct forward_text *text, struct field *out);
/* The same for a response. */
uint32_t forward_response_fields(const struct http_response *r, struct field *out);
