/* JSON as trees; fed whole, byte by byte and in two pieces at every offset. */
#include "document/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { TEXT_MAX = 128 << 20 };

static void dump(struct buf *b, const struct tree_node *node)
{
    buf_addf(b, "%u@%u", node->kind, node->line);
    if (node->kind == TREE_MAPPING) {
        buf_add_char(b, '{');
        for (uint32_t i = 0; i < node->n; i++) {
            dump(b, tree_key(node, i));
            dump(b, tree_value(node, i));
        }
        buf_add_char(b, '}');
    } else if (node->kind == TREE_SEQUENCE) {
        buf_add_char(b, '[');
        for (uint32_t i = 0; i < node->n; i++) {
            dump(b, tree_item(node, i));
        }
        buf_add_char(b, ']');
    } else {
        buf_addf(b, "(%.*s)", STR_ARG(tree_text(node)));
    }
}

static enum err on_document(void *arg, const struct tree_node *root)
{
    struct buf *b = arg;
    dump(b, root);
    buf_add_char(b, '\n');
    return E_OK;
}

static enum err on_item(void *arg, const struct tree_node *item)
{
    buf_add_str(arg, STR("item "));
    return on_document(arg, item);
}

static void on_diag(void *arg, const struct diag *d)
{
    struct buf *b = arg;
    buf_addf(b, "line %u: %.*s %.*s\n", d->line, STR_ARG(d->what), STR_ARG(d->why));
}

/* Pieces: up to first, then of size step. */
static void run_with(struct buf *out, struct str text, size_t first, size_t step, bool has_items)
{
    struct tree_sink sink = {out, on_document, on_diag};
    struct json_reader *r;
    enum err e = E_OK;
    buf_init(out, TEXT_MAX);
    assert_int_equal(json_reader_new(&sink, &r), E_OK);
    if (has_items) {
        json_reader_give_items(r, on_item);
    }
    for (size_t at = 0, n = first; e == E_OK && at < text.n; at += n, n = step) {
        e = json_reader_feed(r, str_first(str_from(text, at), n));
        n = at == 0 ? first : step;
    }
    if (e == E_OK) {
        e = json_reader_end(r);
    }
    assert_true(e == E_OK || e == E_PROTO);
    json_reader_free(r);
}

static void run(struct buf *out, struct str text, size_t first, size_t step)
{
    run_with(out, text, first, step, false);
}

static void expect_same(struct str text, const struct buf *whole, size_t first, size_t step)
{
    struct buf out;
    /* A piece in memory of its own, so that a read past its end is seen. */
    run(&out, text, first, step);
    if (!str_eq(buf_str(&out), buf_str(whole))) {
        fail_msg("split at %zu, step %zu\n%.*s--- whole\n%.*s", first, step, STR_ARG(buf_str(&out)),
                 STR_ARG(buf_str(whole)));
    }
    buf_fini(&out);
}

static void expect(const char *json, const char *want)
{
    struct str text = str_from_cstr(json);
    struct buf whole;
    run(&whole, text, text.n, 1);
    if (!str_eq(buf_str(&whole), str_from_cstr(want))) {
        fail_msg("%s\n--- want\n%s--- got\n%.*s", json, want, STR_ARG(buf_str(&whole)));
    }
    expect_same(text, &whole, 1, 1);
    for (size_t at = 1; at < text.n; at++) {
        expect_same(text, &whole, at, text.n);
    }
    buf_fini(&whole);
}

static void values(void **state)
{
    (void)state;
    expect("null", "0@1(null)\n");
    expect("[true,false]", "4@1[1@1(true)1@1(false)]\n");
    expect("{\"a\":\n{\"b\":[1,\n-2.5e3 ,\"x\\n\\u00e9\\\"y\"]}}\n",
           "5@1{3@1(a)5@2{3@2(b)4@2[2@2(1)2@3(-2.5e3)3@3(x\n\xc3\xa9\"y)]}}\n");
    expect("{}\n\n[]\n", "5@1{}\n4@3[]\n");
    expect("\"\"", "3@1()\n");
}

static void errors(void **state)
{
    (void)state;
    struct buf out;
    static const struct {
        struct str text;
        const char *want; /* begins with */
    } cases[] = {
        {STR_INIT(""),                                         "line 1: is not JSON parse error: premature EOF"    },
        {STR_INIT("{\"a\":1}\n{"),                             "5@1{3@1(a)2@1(1)}\nline 2: is not JSON parse error"},
        {STR_INIT("{a:1}"),                                    "line 1: is not JSON lexical error"                 },
        {STR_INIT("[1,\n2,]"),                                 "line 2: is not JSON parse error"                   },
        {STR_INIT("[01]"),                                     "line 1: is not JSON"                               },
        {STR_INIT("/* */ 1"),                                  "line 1: is not JSON"                               },
        {STR_INIT("\"a\nb\""),                                 "line 1: is not JSON lexical error"                 },
        {STR_INIT("\"\xc0\x80\""),                             "line 1: is not UTF-8"                              },
        {STR_INIT("[\n\"\xed\xa0\x80\"]"),                     "line 2: is not UTF-8"                              },
        {STR_INIT("\"\xf4\x90\x80\x80\""),                     "line 1: is not UTF-8"                              },
        {STR_INIT("\"\xc3\""),                                 "line 1: is not UTF-8"                              },
        {STR_INIT("\"\xe2\x82x\""),                            "line 1: is not UTF-8"                              },
        {STR_INIT("\"\xe2\x82\xac\xf0\x9f\x98\x80\xc3\xa9\""),
         "3@1(\xe2\x82\xac\xf0\x9f\x98\x80\xc3\xa9)"                                                               },
        {STR_INIT("[\"a\0\"]"),                                "line 1: is not JSON lexical error"                 },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        run(&out, cases[i].text, cases[i].text.n, 1);
        if (!str_has_prefix(buf_str(&out), str_from_cstr(cases[i].want))) {
            fail_msg("%s\n--- want\n%s\n--- got\n%.*s", cases[i].text.p, cases[i].want,
                     STR_ARG(buf_str(&out)));
        }
        buf_fini(&out);
    }
}

/* Items come as they end, in documents of their own, whatever the pieces are. */
static void items(void **state)
{
    (void)state;
    static const struct {
        struct str text;
        const char *want;
    } cases[] = {
        {STR_INIT("{\"a\":[1],\"items\":[{\"items\":[2]},[3],4],\"b\":5}"),
         "item 5@1{3@1(items)4@1[2@1(2)]}\nitem 4@1[2@1(3)]\nitem 2@1(4)\n"
         "5@1{3@1(a)4@1[2@1(1)]3@1(items)4@1[]3@1(b)2@1(5)}\n"                                                           },
        {STR_INIT("{\"items\":[]}\n{\"items\":[0]}"),
         "5@1{3@1(items)4@1[]}\nitem 2@2(0)\n5@2{3@2(items)4@2[]}\n"                                                     },
        {STR_INIT("{\"items\":null}"),                                      "5@1{3@1(items)0@1(null)}\n"                 },
        {STR_INIT("{\"items\":{\"items\":[1]}}"),                           "5@1{3@1(items)5@1{3@1(items)4@1[2@1(1)]}}\n"},
        {STR_INIT("[\"items\",[1]]"),                                       "4@1[3@1(items)4@1[2@1(1)]]\n"               },
        {STR_INIT("{\"x\":\"items\",\"y\":[1]}"),                           "5@1{3@1(x)3@1(items)3@1(y)4@1[2@1(1)]}\n"   },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (size_t first = 1; first <= cases[i].text.n; first++) {
            struct buf out;
            run_with(&out, cases[i].text, first, first == 1 ? 1 : cases[i].text.n, true);
            buf_add_char(&out, '\0');
            assert_string_equal(out.p, cases[i].want);
            buf_fini(&out);
        }
    }
}

/* The limit on nodes is one item's. */
static void many_items(void **state)
{
    (void)state;
    struct buf in, out;
    size_t n = MANIFEST_NODES_MAX + 10;
    buf_init(&in, TEXT_MAX);
    buf_add_str(&in, STR("{\"items\":[0"));
    for (size_t i = 0; i < n; i++) {
        buf_add_str(&in, STR(",1"));
    }
    buf_add_str(&in, STR("]}"));
    assert_false(in.bad);
    run_with(&out, buf_str(&in), in.n, 1, true);
    assert_true(str_has_suffix(buf_str(&out), STR("5@1{3@1(items)4@1[]}\n")));
    buf_fini(&out);
    run(&out, buf_str(&in), in.n, 1);
    assert_true(str_has_prefix(buf_str(&out), STR("line 1: is too large")));
    buf_fini(&in);
    buf_fini(&out);
}

static bool depth_fits(size_t depth)
{
    struct buf in, out;
    buf_init(&in, TEXT_MAX);
    for (size_t i = 0; i < 2 * depth; i++) {
        buf_add_char(&in, i < depth ? '[' : ']');
    }
    run(&out, buf_str(&in), in.n, 1);
    bool fits = !str_has_prefix(buf_str(&out), STR("line 1: is too large a document nests"));
    buf_fini(&in);
    buf_fini(&out);
    return fits;
}

static void depth_limit(void **state)
{
    (void)state;
    assert_true(depth_fits(MANIFEST_DEPTH_MAX));
    assert_false(depth_fits(MANIFEST_DEPTH_MAX + 1));
    assert_false(depth_fits(100 * 1000));
}

static void whole(void **state)
{
    (void)state;
    struct buf out;
    buf_init(&out, TEXT_MAX);
    struct tree_sink sink = {&out, on_document, on_diag};
    assert_int_equal(json_parse(STR("\xef\xbb\xbf[]"), &sink), E_OK);
    assert_int_equal(json_parse(STR("["), &sink), E_OK); /* told, no error */
    assert_true(str_has_prefix(buf_str(&out), STR("4@1[]\nline 1: is not JSON")));
    buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values),     cmocka_unit_test(errors),      cmocka_unit_test(items),
        cmocka_unit_test(many_items), cmocka_unit_test(depth_limit), cmocka_unit_test(whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
