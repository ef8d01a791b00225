/* wire/quantity.h: times, sizes and switches as people write them in options and in ConfigMaps.
 * Pure; which range is right is the caller's business. */
#pragma once

#include "base/clock.h"
#include "base/err.h"
#include "base/str.h"

/* "250ms", "10s", "1m30s", "2h", or a bare number of seconds. Errors: E_PROTO, also on overflow. */
enum err duration_parse(struct str text, usec_t *ret);
/* A number of bytes, or of k, m, g (1024, 1024^2, 1024^3; either case), as nginx has it. Errors:
 * E_PROTO, also on overflow. */
enum err size_parse(struct str text, uint64_t *ret);
/* As strconv.ParseBool of Go, which ingress-nginx reads annotations with: 1 t T TRUE true True, 0 f
 * F FALSE false False. Errors: E_PROTO. */
enum err switch_parse(struct str text, bool *ret);
