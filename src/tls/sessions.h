/* tls/sessions.h: TLS sessions that clients may resume, with whichever worker made them: in memory
 * that all workers share and each writes a part of its own. The id of a session says where it
 * stands, so looking one up is one copy, whoever made it, without locks. The oldest make room.
 *
 * Used where clients do not keep their sessions themselves (tickets). A session holds secrets: the
 * memory is never written to a disk by us, and left out of core dumps.
 * Source: RFC 5246 section 7.4.1.2, RFC 8446 section 2.2; relaxed atomics, one writer for each
 * slot. */
#pragma once

#include "base/err.h"

#include <stdint.h>

struct tls_sessions;

enum {
    TLS_SESSION_BYTES = 512
}; /* of one; those that take more (client certificates) are not kept */

/* Maps fd (see memfd_make_shared()), which is borrowed. index: of this worker among worker_n.
 * Errors: E_LIMIT (there is no room for one session each), E_NOMEM, E_SYS. */
enum err tls_sessions_open(int fd, uint32_t index, uint32_t worker_n, struct tls_sessions **ret);
void tls_sessions_close(struct tls_sessions *s); /* s may be NULL */
/* Sessions that this worker has kept, and of those that were asked for: found. */
void tls_sessions_figures(const struct tls_sessions *s, uint64_t *ret_kept, uint64_t *ret_found);
