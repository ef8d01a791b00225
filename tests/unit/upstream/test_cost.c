/* What a pick costs: no allocation once warm, which is held; and time, which is only printed. */
#include "world.h"

#include <stdio.h>

static const struct {
    const char *name;
    uint8_t balance;
    bool is_weighted;
} ways[] = {
    {"round robin",          SNAP_BALANCE_ROUND_ROBIN, false},
    {"weighted round robin", SNAP_BALANCE_ROUND_ROBIN, true },
    {"least connections",    SNAP_BALANCE_LEAST_CONN,  false},
    {"latency",              SNAP_BALANCE_LATENCY,     false},
};

static const uint32_t sizes[] = {1, 10, 1000};

enum {
    WAYS_N = sizeof(ways) / sizeof(ways[0]),
    SIZES_N = sizeof(sizes) / sizeof(sizes[0]),
    WARM_UP = 20000,
    REQUESTS = 200 * 1000
};

static void requests_run(struct world *w, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        struct upstream_pick pick = world_open(w);
        world_answer(w, &pick, 100 + i % 16);
        w->now += 10;
    }
}

static struct world *world_of(size_t way, uint32_t n)
{
    uint32_t weights[1000];
    for (uint32_t i = 0; i < n; i++) {
        weights[i] = ways[way].is_weighted ? 1 + i % 3 : 1;
    }
    return world_new_with(ways[way].balance, weights, n);
}

static void test_no_allocation(void **state)
{
    (void)state;
    for (size_t way = 0; way < WAYS_N; way++) {
        for (size_t s = 0; s < SIZES_N; s++) {
            struct world *w = world_of(way, sizes[s]);
            requests_run(w, WARM_UP);
            size_t calls = mem_calls();
            requests_run(w, WARM_UP);
            assert_int_equal(mem_calls(), calls);
            world_free(w);
        }
    }
}

static void test_print_cost(void **state)
{
    (void)state;
    printf("ns of CPU for open + report + release, by endpoints:\n");
    for (size_t way = 0; way < WAYS_N; way++) {
        printf("  %-22s", ways[way].name);
        for (size_t s = 0; s < SIZES_N; s++) {
            struct world *w = world_of(way, sizes[s]);
            requests_run(w, WARM_UP);
            usec_t began = clock_cpu();
            requests_run(w, REQUESTS);
            usec_t cost = clock_cpu() - began;
            printf("  %u: %5.1f", sizes[s], (double)cost * 1000 / REQUESTS);
            world_free(w);
        }
        printf("\n");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_allocation),
        cmocka_unit_test(test_print_cost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
