/* base/mem.h: the only door to the heap.
 * Every allocation goes through here, so that the n-th one can be made to fail in tests and the
 * bytes in use can be counted. Never aborts: the caller maps NULL to E_NOMEM. */
#pragma once

#include <stddef.h>

/* 1: a sanitizer watches the heap. Then blocks are not kept for later, not put together and not
 * taken from elsewhere: it finds leaks, and uses after the end, in single blocks of its own heap
 * only. */
#if defined(__SANITIZE_ADDRESS__)
#define MEM_IS_WATCHED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define MEM_IS_WATCHED 1
#endif
#endif
#ifndef MEM_IS_WATCHED
#define MEM_IS_WATCHED 0
#endif

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
