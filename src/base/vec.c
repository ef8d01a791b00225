/* Growing arrays. */
#include "base/vec.h"

#include "base/mem.h"

enum { VEC_FIRST = 8 };

enum err vec_room(void **items, size_t n, size_t *cap, size_t item_size, size_t max)
{
    if (n >= max) {
        return E_LIMIT;
    }
    if (n < *cap) {
        return E_OK;
    }
    size_t bigger = *cap == 0 ? VEC_FIRST : *cap * 2;
    void *p = mem_resize(*items, bigger, item_size);
    if (p == NULL) {
        return E_NOMEM;
    }
    *items = p;
    *cap = bigger;
    return E_OK;
}
