/* One Ingress with annotations of one kind, and a compiler to judge it: for tables of what is said
 * and what it means. Before the include: ANNOTATIONS, what all of them begin with. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "../../lib/manifest_objects.h"
#include "compile/compile_priv.h"

static const struct compile_options options = {
    .controller = STR_INIT("lintel.dev/ingress-controller"),
    .ingress_class = STR_INIT("lintel"),
    .default_namespace = STR_INIT(""),
    .default_service = STR_INIT(""),
};

struct bench {
    struct store *store;
    struct compile *compile;
    struct buf text;
};

static int setup(void **state)
{
    struct bench *b = calloc(1, sizeof(*b));
    assert_int_equal(store_new(&b->store), E_OK);
    assert_int_equal(compile_new(b->store, &options, &b->compile), E_OK);
    buf_init(&b->text, 1 << 20);
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;
    compile_free(b->compile);
    store_free(b->store);
    buf_fini(&b->text);
    free(b);
    return 0;
}

/* annotations: "secret: default/s; verify: on", without their common beginning. */
static struct ingress *ingress_make(const char *annotations)
{
    struct objects objects = {0};
    struct str rest = str_from_cstr(annotations), item, key, value;
    struct buf yaml;
    buf_init(&yaml, 1 << 20);
    buf_addf(&yaml, "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: web\n"
                    "  namespace: default\n  annotations:\n    x: z\n");
    while (rest.n > 0) {
        (void)str_cut(rest, ';', &item, &rest);
        (void)str_cut(item, ':', &key, &value);
        buf_addf(&yaml, "    nginx.ingress.kubernetes.io/" ANNOTATIONS "%.*s: '%.*s'\n",
                 STR_ARG(str_trim(key)), STR_ARG(str_trim(value)));
    }
    buf_addf(&yaml, "spec: {defaultBackend: {service: {name: web, port: {number: 80}}}}\n");
    assert_true(objects_parse(&objects, "test.yaml", buf_str(&yaml)));
    assert_int_equal(objects.n, 1);
    struct ingress *in = (struct ingress *)(void *)objects_give(&objects, 0);
    objects_fini(&objects);
    buf_fini(&yaml);
    return in;
}
