/* What both publish tests play with: services s0, s1 ... whose number of endpoints is their value.
 */
#pragma once

#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../lib/snapshot_make.h"
#include "base/mem.h"
#include "os/heritage.h"
#include "publish/publish.h"

static inline enum err world_add(struct publish *p, unsigned i, uint32_t endpoint_n)
{
    struct buf b;
    char name[16];
    (void)snprintf(name, sizeof(name), "s%u", i);
    buf_init(&b, 1 << 20);
    enum err e = make_service(&b, "shop", name, "80", endpoint_n, 1);
    if (e == E_OK) {
        e = publish_add(p, snap_at(&b, 0, const struct snap_shard));
    }
    buf_fini(&b);
    return e;
}

static inline struct str world_key(unsigned i, char *text, size_t cap)
{
    (void)snprintf(text, cap, "shop/s%u/80", i);
    return str_from_cstr(text);
}

static inline enum err world_delete(struct publish *p, unsigned i)
{
    struct buf b;
    char text[32];
    buf_init(&b, 1 << 20);
    snap_shard_deleted(&b, SNAP_SERVICE, world_key(i, text, sizeof(text)));
    enum err e = snap_shard_end(&b);
    if (e == E_OK) {
        e = publish_add(p, snap_at(&b, 0, const struct snap_shard));
    }
    buf_fini(&b);
    return e;
}

/* The number of endpoints of service i; -1 when there is no such service. */
static inline int world_value(const struct snapshot *s, unsigned i)
{
    char text[32];
    struct str key = world_key(i, text, sizeof(text));
    const struct snapshot_entry *entry = snapshot_find(s, SNAP_SERVICE, key, hash_str(key));
    if (entry == NULL) {
        return -1;
    }
    const struct snap_service *service = (const void *)entry->shard;
    return (int)service->endpoints.n;
}
