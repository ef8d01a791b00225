/* regex/regex.h: regular expressions from manifests over bytes from clients, with bounded cost:
 * PCRE2 with limits on steps and depth, without a compiler at run time. Its only home. Errors in a
 * pattern are told in words. Context: any; never blocks. */
#pragma once

#include "base/err.h"
#include "base/str.h"

struct regex;

enum { REGEX_PATTERN_BYTES_MAX = 4096, REGEX_FAULT_BYTES = 160 };

/* On E_PROTO fault, of REGEX_FAULT_BYTES, gets what is wrong and where, ended by a NUL. Errors:
 * E_PROTO (no regular expression), E_LIMIT (REGEX_PATTERN_BYTES_MAX, or too large when compiled),
 * E_NOMEM. */
enum err regex_new(struct str pattern, char *fault, struct regex **ret);
void regex_free(struct regex *r); /* r may be NULL */
/* True when some part of subject matches; false also when finding out takes too long. */
bool regex_finds(struct regex *r, struct str subject);
