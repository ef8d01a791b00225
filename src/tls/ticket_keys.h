/* tls/ticket_keys.h: keys that encrypt the sessions which clients keep themselves, as the shard of
 * the secret stream that carries them. Source: RFC 5077 section 4. Context: any; never blocks but
 * for ticket_key_make(), once after boot. */
#pragma once

#include "base/buf.h"
#include "snapshot/schema.h"

/* A key in a Secret: a name of 16 random bytes, 32 of HMAC, 32 of AES; 80 random bytes, that is, as
 * nginx has them in a file of ssl_session_ticket_key. */
enum { TICKET_KEY_BYTES = sizeof(struct snap_ticket_key) };

/* Random. Errors: E_SYS. */
enum err ticket_key_make(struct snap_ticket_key *ret);
/* One or more behind each other; the first one is the present one. keys has room for
 * SNAP_TICKET_KEYS_MAX. Errors: E_PROTO (not a number of whole keys), E_LIMIT (too many). */
enum err ticket_keys_parse(struct str bytes, struct snap_ticket_key *keys, uint32_t *ret_n);
/* A finished shard into an empty buf. Errors: E_NOMEM. */
enum err ticket_keys_emit(struct buf *b, const struct snap_ticket_key *keys, uint32_t n);
