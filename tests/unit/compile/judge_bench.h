/* A compiler over one store, and Ingresses that are not in it to be judged: compile_judge(). What
 * is told is gathered as text. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "../../lib/compiled.h"
#include "../../lib/manifest_objects.h"
#include "base/mem.h"
#include "compile/compile_priv.h"

struct bench {
    struct store *store;
    struct compile *compile;
    struct compiled state;
    struct buf text;
};

static void put(struct bench *b, const char *yaml)
{
    assert_true(objects_put(b->store, "test.yaml", str_from_cstr(yaml)));
}

static void run(struct bench *b)
{
    assert_int_equal(compile_run(b->compile, compiled_take, &b->state), E_OK);
}

static struct bench *bench_new(const struct compile_options *options, const char *world)
{
    struct bench *b = calloc(1, sizeof(*b));
    assert_int_equal(store_new(&b->store), E_OK);
    assert_int_equal(compile_new(b->store, options, &b->compile), E_OK);
    buf_init(&b->text, 1 << 20);
    put(b, world);
    run(b);
    return b;
}

static int teardown(void **state)
{
    struct bench *b = *state;
    compile_free(b->compile);
    store_free(b->store);
    compiled_fini(&b->state);
    buf_fini(&b->text);
    free(b);
    return 0;
}

static struct ingress *parse(const char *yaml)
{
    struct object *o = objects_only(yaml);
    assert_non_null(o);
    return (struct ingress *)(void *)o;
}

/* fn gets b; what it leaves in b->text is ended by a NUL. */
static void judge(struct bench *b, const char *yaml, diag_fn *fn)
{
    struct ingress *in = parse(yaml);
    buf_reset(&b->text);
    assert_int_equal(compile_judge(b->compile, in, fn, b), E_OK);
    buf_add_char(&b->text, '\0');
    object_free(&in->object);
}

/* Whichever allocation fails, and all behind it: everything is told or nothing. Returns how many
 * there are. */
static size_t judge_without_memory(struct bench *b, const char *yaml, diag_fn *fn)
{
    struct ingress *in = parse(yaml);
    enum err e = E_NOMEM;
    size_t nth = 0;
    for (; e != E_OK && nth < 1000; nth++) {
        buf_reset(&b->text);
        assert_true(buf_reserve(&b->text, 4096));
        mem_fail_from(nth + 1);
        e = compile_judge(b->compile, in, fn, b);
        mem_fail_from(0);
        assert_true(e == E_OK || e == E_NOMEM);
        assert_true(e == E_OK || b->text.n == 0);
    }
    assert_int_equal(e, E_OK);
    object_free(&in->object);
    return nth;
}
