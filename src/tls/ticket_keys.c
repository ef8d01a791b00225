/* Three fixed parts, copied. */
#include "tls/ticket_keys.h"

#include <sys/random.h>

#include "base/mem.h"
#include "snapshot/write.h"

enum err ticket_key_make(struct snap_ticket_key *ret)
{
    return getrandom(ret, sizeof(*ret), 0) == (ssize_t)sizeof(*ret) ? E_OK : E_SYS;
}

static void key_read(const char *p, struct snap_ticket_key *ret)
{
    mem_copy(ret->name, p, sizeof(ret->name));
    mem_copy(ret->mac, p + sizeof(ret->name), sizeof(ret->mac));
    mem_copy(ret->cipher, p + sizeof(ret->name) + sizeof(ret->mac), sizeof(ret->cipher));
}

enum err ticket_keys_parse(struct str bytes, struct snap_ticket_key *keys, uint32_t *ret_n)
{
    if (bytes.n == 0 || bytes.n % TICKET_KEY_BYTES != 0) {
        return E_PROTO;
    }
    if (bytes.n / TICKET_KEY_BYTES > SNAP_TICKET_KEYS_MAX) {
        return E_LIMIT;
    }
    *ret_n = (uint32_t)(bytes.n / TICKET_KEY_BYTES);
    for (uint32_t i = 0; i < *ret_n; i++) {
        key_read(bytes.p + (size_t)i * TICKET_KEY_BYTES, &keys[i]);
    }
    return E_OK;
}

enum err ticket_keys_emit(struct buf *b, const struct snap_ticket_key *keys, uint32_t n)
{
    snap_shard_begin(b, SNAP_TICKETS, sizeof(struct snap_tickets), STR_EMPTY);
    struct snap_array at = snap_add_array(b, n, sizeof(*keys));
    if (!b->bad) {
        mem_copy(snap_at(b, at.offset, char), keys, n * sizeof(*keys));
        snap_at(b, 0, struct snap_tickets)->keys = at;
    }
    return snap_shard_end(b);
}
