/* snapshot/verify.h: one shard of foreign bytes: is everything in it what schema.h says? */
#pragma once

#include "snapshot/schema.h"

/* NULL when the shard can be trusted by readers, else what is wrong with it (static text).
 * shard is aligned and has bytes >= sizeof(struct snap_shard) readable bytes. Not checked here: its
 * place in the segment and whether it may be a deletion. O(bytes). */
const char *snap_shard_verify(const struct snap_shard *shard, uint32_t bytes);
