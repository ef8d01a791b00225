/* base/mem.h: the only door to the heap.
 * Every allocation goes through here, so that the n-th one can be made to fail in tests and the
 * bytes in use can be counted. Never aborts: the caller maps NULL to E_NOMEM. */
#pragma once

#include <stddef.h>

/* size > 0. The memory is not cleared. */
void *mem_alloc(size_t size);
/* n * size > 0, overflow-checked, cleared. */
void *mem_calloc(size_t n, size_t size);
/* p may be NULL. n * size > 0, overflow-checked. On failure p stays valid. */
void *mem_resize(void *p, size_t n, size_t size);
/* p may be NULL. */
void mem_free(void *p);

/* The same from whole pages of the system, cleared, that go back to it when they are freed; those
 * never touched cost nothing. For what lives long and is mostly empty. */
void *mem_pages_alloc(size_t bytes);
/* bytes as allocated; p may be NULL. */
void mem_pages_free(void *p, size_t bytes);

/* Copies n bytes; the areas do not overlap; n may be 0. The only raw copy outside base/ is this. */
void mem_copy(void *to, const void *from, size_t n);

/* Tests only: the nth allocation from now (1 = the next) and all later ones fail; 0 turns it off.
 */
void mem_fail_from(size_t nth);
/* Allocations that were asked for since the start of the process. For allocation budgets. */
size_t mem_calls(void);
