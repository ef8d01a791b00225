/* What `lintel dump` shows, in both forms. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "../../lib/snapshot_make.h"
#include "base/mem.h"
#include "snapshot/dump.h"

static struct make_set set;

static const struct make_rule rules[] = {
    {"/a\"b", true, 1, 1, {{SNAP_IF_HEADER, "x", "\x01\xc3\xa4\xff"}}},
};
static const struct make_host host = {"*.h", rules, 1, SNAP_DEFAULT_RULE, false};

static struct snapshot_segment *open_set(struct buf *bytes, uint64_t base, uint64_t generation)
{
    struct snapshot_fault fault = {0};
    buf_init(bytes, 1 << 20);
    assert_int_equal(make_segment(&set, bytes, base, generation), E_OK);
    make_clear(&set);
    struct snapshot_segment *s = make_open(bytes->p, bytes->n, &fault);
    assert_non_null(s);
    return s;
}

static void assert_dump(const struct snapshot_segment *s, enum snapshot_dump_form form,
                        const char *want)
{
    struct buf out;
    buf_init(&out, 1 << 20);
    snapshot_dump_segment(&out, s, form);
    buf_add_char(&out, '\0');
    assert_false(out.bad);
    assert_string_equal(out.p, want);
    buf_fini(&out);
}

static void test_services(void **state)
{
    (void)state;
    struct buf bytes;
    assert_int_equal(make_service(make_next(&set), "n", "s", "80", 1, 7), E_OK);
    struct buf *b = make_next(&set);
    snap_shard_deleted(b, SNAP_SERVICE, STR("n/z/80"));
    assert_int_equal(snap_shard_end(b), E_OK);
    struct snapshot_segment *s = open_set(&bytes, 1, 2);
    assert_dump(s, SNAPSHOT_DUMP_JSON,
                "{\"generation\":2,\"base_generation\":1,\"bytes\":272,\"shards\":["
                "{\"kind\":\"service\",\"key\":\"n/s/80\",\"bytes\":160,\"is_deleted\":false,"
                "\"namespace\":\"n\",\"name\":\"s\",\"port\":\"80\",\"status\":\"ok\",\"balance\":"
                "\"round_robin\","
                "\"endpoints\":[{\"address\":\"10.7.0.1\",\"port\":8080,\"weight\":1}]},"
                "{\"kind\":\"service\",\"key\":\"n/z/80\",\"bytes\":32,\"is_deleted\":true}]}\n");
    assert_dump(s, SNAPSHOT_DUMP_TEXT,
                "generation: 2\n"
                "base_generation: 1\n"
                "bytes: 272\n"
                "shards:\n"
                "  - kind: \"service\"\n"
                "    key: \"n/s/80\"\n"
                "    bytes: 160\n"
                "    is_deleted: false\n"
                "    namespace: \"n\"\n"
                "    name: \"s\"\n"
                "    port: \"80\"\n"
                "    status: \"ok\"\n"
                "    balance: \"round_robin\"\n"
                "    endpoints:\n"
                "      - address: \"10.7.0.1\"\n"
                "        port: 8080\n"
                "        weight: 1\n"
                "  - kind: \"service\"\n"
                "    key: \"n/z/80\"\n"
                "    bytes: 32\n"
                "    is_deleted: true\n");
    snapshot_segment_unref(s);
    buf_fini(&bytes);
}

/* Every setting is shown under the name of its option. */
static void test_global(void **state)
{
    static const char *const names[] = {
#define SETTING(id, name, type, argument, text, value, low, high, help) "\"" name "\":",
#include "snapshot/settings.def"
#undef SETTING
        "\"listeners\":[{\"name\":\"http\",\"table\":\"t\"}]",
        "\"trusted\":[{\"address\":\"10.0.0.0\",\"bits\":8}]",
        "\"plain_paths\":[{\"path\":\"/plain\"}]",
        "\"keep-alive\":75000000,",
        "\"ssl_min_version\":12,\"ssl_max_version\":13",
    };
    (void)state;
    struct buf bytes, out;
    assert_int_equal(make_global(make_next(&set), "t"), E_OK);
    struct snapshot_segment *s = open_set(&bytes, 0, 1);
    buf_init(&out, 1 << 20);
    snapshot_dump_segment(&out, s, SNAPSHOT_DUMP_JSON);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        assert_non_null(memmem(out.p, out.n, names[i], strlen(names[i])));
    }
    buf_fini(&out);
    snapshot_segment_unref(s);
    buf_fini(&bytes);
}

static void test_host(void **state)
{
    (void)state;
    struct buf bytes;
    assert_int_equal(make_host(make_next(&set), "t", &host), E_OK);
    struct snapshot_segment *s = open_set(&bytes, 0, 1);
    struct buf out;
    buf_init(&out, 1 << 20);
    snapshot_dump_segment(&out, s, SNAPSHOT_DUMP_JSON);
    static const char want[] =
        "\"key\":\"t/*.h\",\"bytes\":BYTES,\"is_deleted\":false,\"table\":\"t\",\"host\":\"*.h\","
        "\"host_kind\":\"label\",\"falls_through\":true,\"paths\":[{\"path\":\"/a\\\"b\","
        "\"exact\":[{\"namespace\":\"shop\",\"name\":\"ing\",\"is_default_backend\":false,"
        "\"rule\":1,\"path_index\":0,\"path\":\"/a\\\"b\","
        "\"conditions\":[{\"kind\":\"header\",\"name\":\"x\","
        "\"value\":\"\\u0001\xc3\xa4\\ufffd\"}],"
        "\"filters\":[{\"filter\":\"redirect\",\"status\":301,\"location\":\"/new\"}],"
        "\"backends\":[{\"service\":\"shop/web/80\",\"weight\":3,\"log_name\":\"shop-web-80\"}]}],"
        "\"prefix\":[]}],\"default_route\":{\"namespace\":\"shop\",\"name\":\"ing\","
        "\"is_default_backend\":true,\"path\":\"\",\"conditions\":[],\"filters\":[],"
        "\"backends\":[{\"service\":\"shop/web/80\",\"weight\":3,\"log_name\":\"shop-web-80\"}]}}"
        "]}\n";
    struct str got = buf_str(&out);
    const char *at = strstr(want, "BYTES");
    size_t n = (size_t)(at - want);
    const char *key = memmem(got.p, got.n, "\"key\"", 5);
    assert_non_null(key);
    assert_memory_equal(key, want, n);
    size_t tail = strlen(at + 5);
    assert_true(got.n > tail);
    assert_memory_equal(got.p + got.n - tail, at + 5, tail);
    buf_fini(&out);
    buf_init(&out, 1 << 20);
    snapshot_dump_segment(&out, s, SNAPSHOT_DUMP_TEXT);
    static const char text[] =
        "        prefix: []\n    default_route:\n      namespace: \"shop\"\n";
    assert_non_null(memmem(out.p, out.n, text, strlen(text)));
    buf_fini(&out);
    snapshot_segment_unref(s);
    buf_fini(&bytes);
}

static void test_nothing(void **state)
{
    (void)state;
    struct buf bytes;
    struct snapshot_segment *s = open_set(&bytes, 0, 3);
    assert_dump(s, SNAPSHOT_DUMP_JSON,
                "{\"generation\":3,\"base_generation\":0,\"bytes\":48,\"shards\":[]}\n");
    assert_dump(s, SNAPSHOT_DUMP_TEXT,
                "generation: 3\nbase_generation: 0\nbytes: 48\nshards: []\n");
    snapshot_segment_unref(s);
    buf_fini(&bytes);
}

static void test_state(void **state)
{
    (void)state;
    struct buf bytes, out;
    struct snapshot st;
    snapshot_init(&st);
    buf_init(&out, 1 << 20);
    for (int i = 0; i < 3; i++) {
        char name[] = {(char)('c' - i), '\0'};
        assert_int_equal(make_service(make_next(&set), "n", name, "80", 0, 7), E_OK);
    }
    struct snapshot_segment *s = open_set(&bytes, 0, 1);
    assert_int_equal(snapshot_apply(&st, s, NULL, NULL), E_OK);
    mem_fail_from(1);
    assert_int_equal(snapshot_dump_state(&out, &st, SNAPSHOT_DUMP_TEXT), E_NOMEM);
    mem_fail_from(0);
    assert_int_equal(out.n, 0);
    assert_int_equal(snapshot_dump_state(&out, &st, SNAPSHOT_DUMP_TEXT), E_OK);
    buf_add_char(&out, '\0');
    const char *a = strstr(out.p, "n/a/80"), *b = strstr(out.p, "n/b/80");
    assert_true(a != NULL && b != NULL && a < b && b < strstr(out.p, "n/c/80"));
    assert_true(str_has_prefix(buf_str(&out), STR("generation: 1\nshards:\n  - kind: ")));
    snapshot_fini(&st);
    snapshot_segment_unref(s);
    buf_fini(&bytes);
    buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_services), cmocka_unit_test(test_global), cmocka_unit_test(test_host),
        cmocka_unit_test(test_nothing),  cmocka_unit_test(test_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
