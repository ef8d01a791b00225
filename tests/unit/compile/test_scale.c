/* What compiling costs with many objects: prints CPU times, and holds that a change of one slice
 * emits one shard. LINTEL_SCALE_N sets the number of Ingresses (10000). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "../../lib/compiled.h"
#include "../../lib/manifest_objects.h"
#include "base/clock.h"

enum { INGRESSES = 10000, ENDPOINTS = 10, CHANGES = 1000, TEXT_BYTES = 4096 };

static const struct compile_options options = {
    .controller = STR_INIT("lintel.dev/ingress-controller"),
    .ingress_class = STR_INIT("lintel"),
    .default_namespace = STR_INIT(""),
    .default_service = STR_INIT(""),
};

static void put(struct store *store, struct str yaml)
{
    assert_true(objects_put(store, "scale.yaml", yaml));
}

static void slice_put(struct store *store, unsigned i, unsigned generation)
{
    struct buf b;
    buf_init(&b, TEXT_BYTES);
    buf_addf(&b,
             "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: s%u-1, "
             "labels: {kubernetes.io/service-name: s%u}}\naddressType: IPv4\n"
             "ports: [{port: 8080}]\nendpoints:\n",
             i, i);
    for (unsigned j = 0; j < ENDPOINTS; j++) {
        buf_addf(&b, "- {addresses: [10.%u.%u.%u]}\n", generation % 256, i % 256,
                 j + i / 256 % 24 * ENDPOINTS);
    }
    put(store, buf_str(&b));
    buf_fini(&b);
}

static void service_put(struct store *store, unsigned i)
{
    struct buf b;
    buf_init(&b, TEXT_BYTES);
    buf_addf(&b,
             "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: i%u}\nspec:\n"
             "  ingressClassName: lintel\n  rules:\n  - host: h%u.example.com\n    http:\n"
             "      paths:\n      - {path: /, pathType: Prefix, backend: {service: {name: s%u, "
             "port: {number: 80}}}}\n---\napiVersion: v1\nkind: Service\nmetadata: {name: s%u}\n"
             "spec: {ports: [{port: 80}]}\n",
             i, i, i, i);
    put(store, buf_str(&b));
    buf_fini(&b);
}

static void town_put(struct store *store, unsigned n)
{
    put(store, STR("apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {name: lintel}"
                   "\nspec: {controller: lintel.dev/ingress-controller}\n"));
    for (unsigned i = 0; i < n; i++) {
        service_put(store, i);
        slice_put(store, i, 0);
    }
}

static usec_t run(struct compile *c, struct compiled *state)
{
    usec_t start = clock_cpu();
    assert_int_equal(compile_run(c, compiled_take, state), E_OK);
    return clock_cpu() - start;
}

static void a_change_costs_what_changed(void **unused)
{
    (void)unused;
    const char *wanted = getenv("LINTEL_SCALE_N");
    uint64_t n = INGRESSES;
    struct compiled state = {0};
    struct store *store;
    struct compile *c;
    usec_t changes = 0, most = 0;
    (void)str_to_u64(str_from_cstr(wanted), 1000 * 1000, &n);
    assert_int_equal(store_new(&store), E_OK);
    assert_int_equal(compile_new(store, &options, &c), E_OK);
    usec_t start = clock_cpu();
    town_put(store, (unsigned)n);
    usec_t load = clock_cpu() - start;
    usec_t all = run(c, &state);
    assert_int_equal(state.emitted_n, 2 * n + 1);
    for (unsigned i = 0; i < CHANGES; i++) {
        slice_put(store, (unsigned)(i * 7919 % n), 1 + i % 200);
        usec_t one = run(c, &state);
        changes += one;
        most = one > most ? one : most;
    }
    assert_int_equal(state.emitted_n, 2 * n + 1 + CHANGES);
    printf("%u Ingresses, %u endpoints: parse %u ms, compile %u ms (%.1f us each), one slice "
           "%.2f us (most %u us)\n",
           (unsigned)n, (unsigned)n * ENDPOINTS, (unsigned)(load / USEC_PER_MS),
           (unsigned)(all / USEC_PER_MS), (double)all / (double)n, (double)changes / CHANGES,
           (unsigned)most);
    compile_free(c);
    store_free(store);
    compiled_fini(&state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_change_costs_what_changed)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
