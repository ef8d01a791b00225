/* Tree of a document: children of open nodes wait on one stack and move to the arena when their
 * parent ends, so that every list of children is one run of memory. */
#include "document/tree.h"

#include "base/mem.h"
#include "base/vec.h"

/* Texts of one file at most, each rounded up, plus nodes. */
#define TREE_BYTES_MAX                                                                             \
    ((size_t)4 * MANIFEST_FILE_BYTES_MAX +                                                         \
     (size_t)MANIFEST_NODES_MAX * 2 * sizeof(struct tree_node))

const struct tree_node *tree_get(const struct tree_node *node, struct str key)
{
    if (node == NULL || node->kind != TREE_MAPPING) {
        return NULL;
    }
    for (uint32_t i = node->n; i > 0; i--) {
        if (str_eq(tree_text(tree_key(node, i - 1)), key)) {
            const struct tree_node *value = tree_value(node, i - 1);
            return value->kind == TREE_NULL ? NULL : value;
        }
    }
    return NULL;
}

struct str tree_get_string(const struct tree_node *node, struct str key)
{
    const struct tree_node *value = tree_get(node, key);
    return value != NULL && value->kind == TREE_STRING ? tree_text(value) : STR_EMPTY;
}

static unsigned take_base(struct str *digits)
{
    static const struct {
        struct str prefix;
        unsigned base;
    } bases[] = {
        {STR_INIT("0x"), 16},
        {STR_INIT("0X"), 16},
        {STR_INIT("0o"), 8 },
        {STR_INIT("0b"), 2 }
    };
    for (size_t i = 0; i < sizeof(bases) / sizeof(bases[0]); i++) {
        if (str_has_prefix(*digits, bases[i].prefix)) {
            *digits = str_from(*digits, bases[i].prefix.n);
            return bases[i].base;
        }
    }
    if (digits->n > 1 && digits->p[0] == '0') {
        *digits = str_from(*digits, 1);
        return 8;
    }
    return 10;
}

static unsigned digit_value(char c)
{
    if (c >= '0' && c <= '9') {
        return (unsigned)(c - '0');
    }
    c = ascii_lower(c);
    return c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10 : 99;
}

/* Towards the sign from the start, so that INT64_MIN is reached without overflow. */
static bool digits_to_int(struct str digits, unsigned base, bool is_negative, int64_t *ret)
{
    int64_t value = 0;
    bool has_digit = false;
    for (size_t i = 0; i < digits.n; i++) {
        if (digits.p[i] == '_') {
            continue;
        }
        unsigned digit = digit_value(digits.p[i]);
        int64_t step = is_negative ? -(int64_t)digit : (int64_t)digit;
        if (digit >= base || __builtin_mul_overflow(value, (int64_t)base, &value) ||
            __builtin_add_overflow(value, step, &value)) {
            return false;
        }
        has_digit = true;
    }
    if (has_digit) {
        *ret = value;
    }
    return has_digit;
}

bool tree_to_int(const struct tree_node *node, int64_t *ret)
{
    if (node->kind != TREE_NUMBER || node->n == 0) {
        return false;
    }
    struct str digits = tree_text(node);
    bool is_negative = digits.p[0] == '-';
    if (is_negative || digits.p[0] == '+') {
        digits = str_from(digits, 1);
    }
    unsigned base = take_base(&digits);
    return digits_to_int(digits, base, is_negative, ret);
}

void tree_init(struct tree *t)
{
    *t = (struct tree){0};
    arena_init(&t->arena, TREE_BYTES_MAX);
}

void tree_fini(struct tree *t)
{
    arena_fini(&t->arena);
    mem_free(t->open);
    t->open = NULL;
    t->open_n = t->open_cap = 0;
}

void tree_reset(struct tree *t)
{
    arena_fini(&t->arena);
    t->open_n = 0;
    t->depth = 0;
    t->node_n = 0;
}

enum err tree_add(struct tree *t, struct tree_node node)
{
    t->is_too_deep = t->depth + node.height > MANIFEST_DEPTH_MAX;
    if (t->is_too_deep || node.weight > MANIFEST_NODES_MAX - t->node_n) {
        return E_LIMIT;
    }
    TRY(VEC_ROOM(t->open, t->open_n, t->open_cap, MANIFEST_NODES_MAX + 1));
    t->node_n += node.weight;
    t->open[t->open_n++] = node;
    return E_OK;
}

enum err tree_add_scalar(struct tree *t, struct tree_node node)
{
    char *copy = arena_alloc(&t->arena, node.n);
    if (copy == NULL) {
        return E_NOMEM;
    }
    mem_copy(copy, node.p, node.n);
    node.p = copy;
    node.weight = 1;
    return tree_add(t, node);
}

enum err tree_begin(struct tree *t, enum tree_kind kind, uint32_t line)
{
    t->is_too_deep = t->depth == MANIFEST_DEPTH_MAX;
    if (t->is_too_deep || t->node_n == MANIFEST_NODES_MAX) {
        return E_LIMIT;
    }
    t->node_n++;
    t->frames[t->depth++] = (struct tree_frame){
        .node = {.line = line, .kind = (uint8_t)kind},
        .first = t->open_n,
    };
    return E_OK;
}

enum err tree_end(struct tree *t)
{
    must(t->depth > 0);
    struct tree_frame *frame = &t->frames[t->depth - 1];
    struct tree_node node = frame->node;
    size_t count = t->open_n - frame->first;
    struct tree_node *children = arena_alloc(&t->arena, count * sizeof(*children));
    if (children == NULL) {
        return E_NOMEM;
    }
    if (count > 0) {
        mem_copy(children, t->open + frame->first, count * sizeof(*children));
    }
    node.p = children;
    node.n = (uint32_t)(node.kind == TREE_MAPPING ? count / 2 : count);
    node.weight = 1;
    for (size_t i = 0; i < count; i++) {
        node.weight += children[i].weight;
        node.height = children[i].height > node.height ? children[i].height : node.height;
    }
    node.height++;
    t->node_n -= node.weight; /* tree_add() counts it again */
    t->open_n = frame->first;
    t->depth--;
    return tree_add(t, node);
}

bool tree_is_complete(const struct tree *t)
{
    return t->depth == 0 && t->open_n > 0;
}

const struct tree_node *tree_root(const struct tree *t)
{
    must(tree_is_complete(t));
    return t->open;
}

struct str tree_limit_text(const struct tree *t)
{
    return t->is_too_deep ? STR("a document nests at most 64 levels deep")
                          : STR("a document has at most 4194304 values, aliases written out");
}
