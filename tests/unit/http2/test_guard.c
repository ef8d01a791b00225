/* Rates, and the walk over frame heads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/limits.h"
#include "http2/guard.h"

static void test_the_limit_and_one_more(void **state)
{
    static const uint32_t limits[HTTP2_NOISES_N] = {
        [HTTP2_NOISE_RESET] = HTTP2_RESETS_PER_SECOND,
        [HTTP2_NOISE_PROVOKED] = HTTP2_PROVOKED_PER_SECOND,
        [HTTP2_NOISE_PING] = HTTP2_PINGS_PER_SECOND,
        [HTTP2_NOISE_SETTINGS] = HTTP2_SETTINGS_PER_SECOND,
        [HTTP2_NOISE_EMPTY] = HTTP2_EMPTY_PER_SECOND,
        [HTTP2_NOISE_OTHER] = HTTP2_OTHER_PER_SECOND,
    };
    (void)state;
    for (enum http2_noise noise = 0; noise < HTTP2_NOISES_N; noise++) {
        struct http2_guard g = {.began = 5};
        for (uint32_t i = 0; i < limits[noise]; i++) {
            assert_true(http2_guard_allows(&g, noise, 5 + USEC_PER_SEC - 1));
        }
        assert_false(http2_guard_allows(&g, noise, 5 + USEC_PER_SEC - 1));
        assert_true(http2_guard_allows(&g, noise, 5 + USEC_PER_SEC)); /* a new second */
    }
}

static void test_counters(void **state)
{
    (void)state;
    static struct stats_page stats;
    assert_ptr_equal(http2_guard_counter(&stats, HTTP2_NOISE_RESET), &stats.limit_http2_resets);
    assert_ptr_equal(http2_guard_counter(&stats, HTTP2_NOISE_OTHER), &stats.limit_http2_other);
}

/* Acknowledgements are allowed for what they acknowledge; resets are never earned. */
static void test_useful_frames_earn(void **state)
{
    (void)state;
    struct http2_guard g = {.began = 1};
    for (int i = 0; i < 10; i++) {
        http2_guard_useful(&g);
    }
    for (uint32_t i = 0; i < HTTP2_OTHER_PER_SECOND + 40; i++) {
        assert_true(http2_guard_allows(&g, HTTP2_NOISE_OTHER, 1));
    }
    assert_false(http2_guard_allows(&g, HTTP2_NOISE_OTHER, 1));
    for (uint32_t i = 0; i < HTTP2_RESETS_PER_SECOND; i++) {
        assert_true(http2_guard_allows(&g, HTTP2_NOISE_RESET, 1));
    }
    assert_false(http2_guard_allows(&g, HTTP2_NOISE_RESET, 1));
}

static const char frames[] = "\0\0\3\1\4\0\0\0\7abc"
                             "\0\0\0\4\0\0\0\0\0"
                             "\0\0\12\x42\0\x80\0\1\0"
                             "0123456789"
                             "\0\0\1\0\1\0\0\0\1x";

static void check_walk(size_t piece)
{
    static const struct http2_frame_head wanted[] = {
        {1,    7,   3 },
        {4,    0,   0 },
        {0x42, 256, 10},
        {0,    1,   1 }
    };
    struct http2_walk w = {0};
    struct http2_frame_head got;
    size_t n = 0;
    for (size_t at = 0; at < sizeof(frames) - 1; at += piece) {
        struct str p = str_first(str_from(STR(frames), at), piece);
        while (http2_walk_next(&w, &p, &got)) {
            assert_true(n < 4);
            assert_int_equal(got.type, wanted[n].type);
            assert_int_equal(got.stream, wanted[n].stream);
            assert_int_equal(got.payload_n, wanted[n].payload_n);
            n++;
        }
        assert_int_equal(p.n, 0);
    }
    assert_int_equal(n, 4);
    assert_int_equal(w.left, 0);
}

static void test_walk_in_pieces(void **state)
{
    (void)state;
    for (size_t piece = 1; piece <= sizeof(frames); piece++) {
        check_walk(piece);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_limit_and_one_more),
        cmocka_unit_test(test_counters),
        cmocka_unit_test(test_useful_frames_earn),
        cmocka_unit_test(test_walk_in_pieces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
