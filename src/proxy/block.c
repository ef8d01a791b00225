/* Exchange memory: a stack of free blocks, so that the next request gets the one that is still in
 * the cache. */
#include "proxy/block.h"

#include "base/mem.h"

struct proxy_block {
    struct proxy_block *next;
};

void *block_take(struct proxy *p, size_t bytes, size_t *ret_size)
{
    *ret_size = bytes <= BLOCK_BYTES ? BLOCK_BYTES : bytes;
    if (bytes <= BLOCK_BYTES && p->blocks != NULL) {
        struct proxy_block *block = p->blocks;
        p->blocks = block->next;
        p->block_n--;
        return block;
    }
    return mem_alloc(*ret_size);
}

void block_give(struct proxy *p, void *block, size_t size)
{
    if (size != BLOCK_BYTES || p->block_n >= BLOCKS_FREE_MAX) {
        mem_free(block);
        return;
    }
    struct proxy_block *free_block = block;
    free_block->next = p->blocks;
    p->blocks = free_block;
    p->block_n++;
}

void blocks_fini(struct proxy *p)
{
    while (p->blocks != NULL) {
        struct proxy_block *next = p->blocks->next;
        mem_free(p->blocks);
        p->blocks = next;
    }
    p->block_n = 0;
}
