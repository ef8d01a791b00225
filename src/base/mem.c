/* The heap, with a switch that lets tests make the n-th allocation fail. */
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Process-wide because the heap is; written by tests, counted by everyone. */
static struct {
    size_t calls;
    size_t fail_at; /* 0 = never */
} heap;

static int is_failing(void)
{
    /* relaxed, for libcurl's resolver, which is a thread of its own: a call may go uncounted then
     */
    size_t calls = __atomic_load_n(&heap.calls, __ATOMIC_RELAXED) + 1;
    __atomic_store_n(&heap.calls, calls, __ATOMIC_RELAXED);
    return heap.fail_at != 0 && calls >= heap.fail_at;
}

void *mem_alloc(size_t size)
{
    return is_failing() ? NULL : malloc(size);
}

void *mem_calloc(size_t n, size_t size)
{
    size_t bytes;
    if (is_failing() || __builtin_mul_overflow(n, size, &bytes)) {
        return NULL;
    }
    return calloc(n, size);
}

void *mem_resize(void *p, size_t n, size_t size)
{
    size_t bytes;
    if (is_failing() || __builtin_mul_overflow(n, size, &bytes)) {
        return NULL;
    }
    return realloc(p, bytes);
}

void mem_free(void *p)
{
    free(p);
}

void *mem_pages_alloc(size_t bytes)
{
    if (MEM_IS_WATCHED) {
        return mem_calloc(1, bytes);
    }
    if (is_failing()) {
        return NULL;
    }
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) {
        return NULL;
    }
    (void)madvise(p, bytes, MADV_NOHUGEPAGE); /* else the untouched may be filled up; best effort */
    return p;
}

void mem_pages_free(void *p, size_t bytes)
{
    if (MEM_IS_WATCHED) {
        mem_free(p);
    } else if (p != NULL) {
        (void)munmap(p, bytes); /* cannot fail on our own mapping */
    }
}

void mem_copy(void *to, const void *from, size_t n)
{
    if (n > 0) {
        memcpy(to, from, n);
    }
}

void mem_fail_from(size_t nth)
{
    heap.fail_at = nth == 0 ? 0 : heap.calls + nth;
}

size_t mem_calls(void)
{
    return heap.calls;
}
