/* Keys of tickets from a Secret: the shard that is made of those that are taken is a good one, and
 * holds every byte. */
#include "tls/ticket_keys.h"

#include "base/mem.h"
#include "snapshot/verify.h"
#include "snapshot/write.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check(const struct snap_ticket_key *keys, uint32_t key_n, const uint8_t *data)
{
    struct buf b;
    buf_init(&b, 1 << 16);
    must(ticket_keys_emit(&b, keys, key_n) == E_OK);
    const struct snap_shard *shard = snap_at(&b, 0, const struct snap_shard);
    must(snap_shard_verify(shard, (uint32_t)b.n) == NULL);
    for (uint32_t i = 0; i < key_n; i++) {
        const uint8_t *from = data + (size_t)i * TICKET_KEY_BYTES;
        must(memcmp(keys[i].name, from, 16) == 0 && memcmp(keys[i].mac, from + 16, 32) == 0 &&
             memcmp(keys[i].cipher, from + 48, 32) == 0);
    }
    buf_wipe(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct snap_ticket_key keys[SNAP_TICKET_KEYS_MAX];
    uint32_t key_n = 0;
    enum err e = ticket_keys_parse(str_make((const char *)data, n), keys, &key_n);
    must(e == E_OK || e == E_PROTO || e == E_LIMIT);
    must((e == E_OK) ==
         (n > 0 && n % TICKET_KEY_BYTES == 0 && n / TICKET_KEY_BYTES <= SNAP_TICKET_KEYS_MAX));
    if (e == E_OK) {
        check(keys, key_n, data);
    }
    return 0;
}
