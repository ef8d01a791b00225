/* YAML documents as trees, written out in one line. */
#include "document/yaml.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { TEXT_MAX = 64 << 20 };

static void dump(struct buf *b, const struct tree_node *node)
{
    struct str text = tree_text(node);
    switch ((enum tree_kind)node->kind) {
    case TREE_NULL:
        buf_add_str(b, STR("null"));
        return;
    case TREE_BOOL:
        buf_add_str(b, node->is_true ? STR("true") : STR("false"));
        return;
    case TREE_NUMBER:
        buf_addf(b, "#%.*s", STR_ARG(text));
        return;
    case TREE_STRING:
        buf_addf(b, "'%.*s'", STR_ARG(text));
        return;
    case TREE_SEQUENCE:
        buf_add_char(b, '[');
        for (uint32_t i = 0; i < node->n; i++) {
            buf_add_char(b, ' ');
            dump(b, tree_item(node, i));
        }
        buf_add_str(b, STR(" ]"));
        return;
    case TREE_MAPPING:
        buf_add_char(b, '{');
        for (uint32_t i = 0; i < node->n; i++) {
            buf_addf(b, " %.*s:", STR_ARG(tree_text(tree_key(node, i))));
            dump(b, tree_value(node, i));
        }
        buf_add_str(b, STR(" }"));
        return;
    }
}

struct outcome {
    struct buf text;
    size_t documents, problems;
    enum diag_reason reason;
    uint32_t line;
    enum err give; /* what on_document returns */
};

static enum err on_document(void *arg, const struct tree_node *root)
{
    struct outcome *out = arg;
    out->documents++;
    if (root->weight < 10000) {
        dump(&out->text, root);
        buf_add_char(&out->text, '\n');
    }
    return out->give;
}

static void on_diag(void *arg, const struct diag *d)
{
    struct outcome *out = arg;
    out->problems++;
    out->reason = d->reason;
    out->line = d->line;
    buf_addf(&out->text, "line %u: %.*s\n", d->line, STR_ARG(d->what));
}

static void run(struct outcome *out, struct str text)
{
    *out = (struct outcome){0};
    buf_init(&out->text, TEXT_MAX);
    struct tree_sink sink = {out, on_document, on_diag};
    assert_int_equal(yaml_parse(text, &sink), E_OK);
}

static void expect(const char *yaml, const char *want)
{
    struct outcome out;
    run(&out, str_from_cstr(yaml));
    if (!str_eq(buf_str(&out.text), str_from_cstr(want))) {
        fail_msg("%s--- want\n%s--- got\n%.*s", yaml, want, STR_ARG(buf_str(&out.text)));
    }
    buf_fini(&out.text);
}

static void scalars(void **state)
{
    (void)state;
    expect("[true, Yes, ON, y, FALSE, no, Off, N]\n",
           "[ true true true true false false false false ]\n");
    expect("[tRue, yEs, oN, '', 'true', \"no\", truee]\n",
           "[ 'tRue' 'yEs' 'oN' '' 'true' 'no' 'truee' ]\n");
    expect("[null, ~, NULL, Null, nUll]\n", "[ null null null null 'nUll' ]\n");
    expect("{a: , b: ~}\n", "{ a:null b:null }\n");
    expect("[0, -1, +2, 80, 0x1F, 0o17, 017, 0b11, 1_000, 08]\n",
           "[ #0 #-1 #+2 #80 #0x1F #0o17 #017 #0b11 #1_000 #08 ]\n");
    expect("[1.5, .5, 1., 1e3, 1.5E-3, -.5e+1, .inf, -.inf, .nan, 99999999999999999999]\n",
           "[ #1.5 #.5 #1. #1e3 #1.5E-3 #-.5e+1 #.inf #-.inf #.nan #99999999999999999999 ]\n");
    expect("[1.2.3, 10.0.0.1, 12:30, 2026-01-02, 1e, e3, ., '-', +, 0x, 0xg, _1, 1.5x, 80/tcp]\n",
           "[ '1.2.3' '10.0.0.1' '12:30' '2026-01-02' '1e' 'e3' '.' '-' '+' '0x' '0xg' '_1' '1.5x' "
           "'80/tcp' ]\n");
    expect("[!!str 80, !!int '80', !!bool 'yes', !!null 'null', ! 80, !!float \"1.5\", !x 7]\n",
           "[ '80' #80 true null '80' #1.5 #7 ]\n");
    expect("a: |\n  x\n  y\nb: >-\n  x\n  y\nc: |+\n  80\n\n",
           "{ a:'x\ny\n' b:'x y' c:'80\n\n' }\n");
    expect("80: a\ntrue: b\n~: c\n", "{ 80:'a' true:'b' ~:'c' }\n");
    expect("\"\\u00e9\\x41\"\n", "'\xc3\xa9"
                                 "A'\n");
    expect("a: !!binary aGk=\n", "line 1: has the tag !!binary\n");
}

static void anchors(void **state)
{
    (void)state;
    expect("a: &x [1, 2]\nb: *x\nc: &y z\nd: *y\n", "{ a:[ #1 #2 ] b:[ #1 #2 ] c:'z' d:'z' }\n");
    expect("a: &x 1\nb: &x 2\nc: *x\n", "{ a:#1 b:#2 c:#2 }\n");
    expect("&k a: 1\nb: *k\n", "{ a:#1 b:'a' }\n");
    expect("? [a]\n: b\n", "line 1: has a mapping or list as key\n");
    expect("a: &x [b]\n*x : c\n", "line 2: has a mapping or list as key\n");
    expect("a: &x 1\n---\nb: *x\n", "{ a:#1 }\nline 3: uses an alias that is not defined\n");
}

static void merges(void **state)
{
    (void)state;
    expect("a: &x {p: 1, q: 2}\nb: {<<: *x, q: 3, r: 4}\n",
           "{ a:{ p:#1 q:#2 } b:{ q:#3 r:#4 p:#1 } }\n");
    expect("a: {q: 3, <<: {q: 1, p: 2}}\n", "{ a:{ q:#3 p:#2 } }\n");
    expect("a: {<<: [{p: 1}, {p: 2, q: 3}]}\n", "{ a:{ p:#1 q:#3 } }\n");
    expect("a: {<<: {p: 1}, <<: {p: 2, q: 3}}\n", "{ a:{ p:#1 q:#3 } }\n");
    expect("a: {<<: {}}\n", "{ a:{ } }\n");
    expect("a: {'<<': 1}\n", "{ a:{ <<:#1 } }\n");
    expect("a: {p: 1, p: 2, <<: {p: 3}}\n", "{ a:{ p:#1 p:#2 } }\n");
    expect("a: {<<: 1}\n", "line 1: merges something else than a mapping\n");
    expect("a: {<<: [{b: c},\n d]}\n", "line 2: merges something else than a mapping\n");
}

static void lines(void **state)
{
    (void)state;
    struct outcome out;
    expect("a\n...\nb\n...\n", "'a'\n'b'\n");
    expect("--- a\n--- b\n---\tc\n---d\n", "'a'\n'b'\n'c ---d'\n");
    expect("--- |\n --- x\n---\n- z\n", "'--- x\n'\n[ 'z' ]\n");
    run(&out, STR("a: 1\n---\n\n# c\nb: [\n---\nc: 3\n---\nd: @\n"));
    assert_int_equal(out.documents, 2);
    assert_int_equal(out.problems, 2);
    assert_int_equal(out.line, 9);
    buf_fini(&out.text);
}

/* "[[...]]", depth levels. */
static size_t problems_at_depth(size_t depth)
{
    struct outcome out;
    struct buf b;
    buf_init(&b, TEXT_MAX);
    for (size_t i = 0; i < 2 * depth; i++) {
        buf_add_char(&b, i < depth ? '[' : ']');
    }
    run(&out, buf_str(&b));
    assert_int_equal(out.documents + out.problems, 1);
    assert_true(out.problems == 0 || out.reason == DIAG_LimitReached);
    buf_fini(&out.text);
    buf_fini(&b);
    return out.problems;
}

static void depth_limit(void **state)
{
    (void)state;
    assert_int_equal(problems_at_depth(MANIFEST_DEPTH_MAX), 0);
    assert_int_equal(problems_at_depth(MANIFEST_DEPTH_MAX + 1), 1);
    /* Through an alias as well: 63 levels that are used two levels down. */
    expect("a: &x [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["
           "]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]\n"
           "b: [*x]\n",
           "line 2: is too large\n");
}

/* A sequence of fours, nested by aliases: 4^k nodes from k lines, and extra more. */
static size_t problems_with_bomb(size_t levels, size_t extra)
{
    struct outcome out;
    struct buf b;
    buf_init(&b, TEXT_MAX);
    buf_add_str(&b, STR("- &a0 [x, x, x]\n")); /* weight 4 */
    for (size_t i = 1; i <= levels; i++) {
        buf_addf(&b, "- &a%zu [*a%zu, *a%zu, *a%zu, *a%zu]\n", i, i - 1, i - 1, i - 1, i - 1);
    }
    for (size_t i = 0; i < extra; i++) {
        buf_add_str(&b, STR("- x\n"));
    }
    run(&out, buf_str(&b));
    buf_fini(&out.text);
    buf_fini(&b);
    return out.problems;
}

static void node_limit(void **state)
{
    (void)state;
    /* Weights: w0 = 4, w(i+1) = 4 w(i) + 1; the document is 1 + their sum. */
    size_t levels = 0, weight = 4, total = 1 + 4;
    while (total + 4 * weight + 1 <= MANIFEST_NODES_MAX) {
        weight = 4 * weight + 1;
        total += weight;
        levels++;
    }
    assert_int_equal(problems_with_bomb(levels, 0), 0);
    assert_int_equal(problems_with_bomb(levels + 1, 0), 1);
    assert_int_equal(problems_with_bomb(40, 0), 1);
}

static void exact_node_limit(void **state)
{
    (void)state;
    struct tree t;
    tree_init(&t);
    struct tree_node half = {.weight = MANIFEST_NODES_MAX - 2, .kind = TREE_SEQUENCE, .height = 1};
    struct tree_node one = {.weight = 1, .kind = TREE_NULL};
    assert_int_equal(tree_begin(&t, TREE_SEQUENCE, 1), E_OK);
    assert_int_equal(tree_add(&t, half), E_OK);
    assert_int_equal(tree_add(&t, one), E_OK);    /* n */
    assert_int_equal(tree_add(&t, one), E_LIMIT); /* n + 1 */
    assert_int_equal(tree_end(&t), E_OK);
    assert_int_equal(tree_root(&t)->weight, MANIFEST_NODES_MAX);
    tree_fini(&t);
}

static void sink_error(void **state)
{
    (void)state;
    struct outcome out = {.give = E_NOMEM};
    buf_init(&out.text, TEXT_MAX);
    struct tree_sink sink = {&out, on_document, on_diag};
    assert_int_equal(yaml_parse(STR("a\n---\nb\n"), &sink), E_NOMEM);
    assert_int_equal(out.documents, 1);
    buf_fini(&out.text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scalars),          cmocka_unit_test(anchors),
        cmocka_unit_test(merges),           cmocka_unit_test(lines),
        cmocka_unit_test(depth_limit),      cmocka_unit_test(node_limit),
        cmocka_unit_test(exact_node_limit), cmocka_unit_test(sink_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
