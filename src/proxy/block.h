/* proxy/block.h: the memory of one exchange: one block of a fixed size from the worker's free list,
 * or, for large heads, one from the heap. Private to proxy/. */
#pragma once

#include "proxy/proxy.h"

enum { BLOCK_BYTES = 4096, BLOCKS_FREE_MAX = 1024 };

/* bytes of memory, not cleared; NULL when there is none. *ret_size says what was given. */
void *block_take(struct proxy *p, size_t bytes, size_t *ret_size);
void block_give(struct proxy *p, void *block, size_t size);
void blocks_fini(struct proxy *p);
