/* A state that grows by segments of shards from short descriptions. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "snapshot/snapshot.h"
#include "snapshot_make.h"

enum { MAKE_SEGMENTS_MAX = 4096 };

struct make_state {
    struct snapshot s;
    struct make_set *set; /* what the next segment holds; for make_next() */
    struct buf segments[MAKE_SEGMENTS_MAX];
    size_t segment_n;
};

static inline void make_state_init(struct make_state *m)
{
    *m = (struct make_state){.set = calloc(1, sizeof(struct make_set))};
    assert_non_null(m->set);
    snapshot_init(&m->s);
}

/* Applies what is in the set. */
static inline void make_state_apply(struct make_state *m, snapshot_change_fn *on_change, void *arg)
{
    struct snapshot_fault fault = {0};
    assert_true(m->segment_n < MAKE_SEGMENTS_MAX);
    struct buf *bytes = &m->segments[m->segment_n++];
    buf_init(bytes, 64 << 20);
    assert_int_equal(make_segment(m->set, bytes, m->s.generation, m->s.generation + 1), E_OK);
    make_clear(m->set);
    struct snapshot_segment *segment = make_open(bytes->p, bytes->n, &fault);
    if (segment == NULL) {
        fail_msg("%s", fault.what);
    }
    assert_int_equal(snapshot_apply(&m->s, segment, on_change, arg), E_OK);
    snapshot_segment_unref(segment);
}

static inline void make_state_delete(struct make_state *m, enum snap_kind kind, const char *key)
{
    struct buf *b = make_next(m->set);
    snap_shard_deleted(b, kind, str_from_cstr(key));
    assert_int_equal(snap_shard_end(b), E_OK);
}

static inline void make_state_fini(struct make_state *m)
{
    snapshot_fini(&m->s);
    make_clear(m->set);
    free(m->set);
    for (size_t i = 0; i < m->segment_n; i++) {
        buf_fini(&m->segments[i]);
    }
    m->segment_n = 0;
}
