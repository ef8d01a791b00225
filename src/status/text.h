/* status/text.h: small texts that the API wants in its own way, and chance. */
#pragma once

#include "base/buf.h"
#include "base/clock.h"

/* A MicroTime of the API: "2026-01-02T03:04:05.000006Z". */
void text_add_micro_time(struct buf *out, usec_t wall);
/* s as the value of a query parameter: RFC 3986 section 2.1. */
void text_add_escaped(struct buf *out, struct str s);
/* A time near to around, up to a tenth less or more, so that replicas spread. */
usec_t text_jitter(usec_t around);
/* n is at most 16: random digits 0-9a-f. */
void text_add_random(struct buf *out, size_t n);
