/* wire/date.h: timestamps as text. */
#pragma once

#include "base/buf.h"

/* RFC 3339 as Kubernetes writes metadata.creationTimestamp ("2026-01-02T03:04:05Z", fractions and
 * offsets allowed; no leap seconds, upper-case T and Z) to seconds since 1970. Errors: E_PROTO. */
enum err date_parse_rfc3339(struct str text, int64_t *ret_seconds);
/* "2026-01-02T03:04:05Z". The emitters set w->bad when the year is not 0 to 9999. */
void date_emit_rfc3339(struct wr *w, int64_t seconds);
/* IMF-fixdate, RFC 9110 section 5.6.7: "Fri, 02 Jan 2026 03:04:05 GMT". */
void date_emit_http(struct wr *w, int64_t seconds);
/* nginx's $time_local in UTC: "02/Jan/2026:03:04:05 +0000". */
void date_emit_log(struct wr *w, int64_t seconds);
