/* JSON manifests: objects that come out are equal to themselves, and the reader says the same of a
 * text in two pieces as of the whole. */
#include "base/hash.h"
#include "document/json.h"
#include "source/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void on_object(void *arg, struct object *o)
{
    (void)arg;
    must(object_is_equal(o, o));
    must(o->name.n > 0 && o->name.p[o->name.n] == '\0');
    object_free(o);
}

static void on_diag(void *arg, const struct diag *d)
{
    (void)arg;
    struct buf text;
    buf_init(&text, 1 << 20);
    diag_emit_text(&text, d);
    must(!text.bad && str_find(buf_str(&text), '\n') == text.n);
    buf_fini(&text);
}

/* What was read, as a number. */
struct sum {
    uint64_t value;
};

static void add(struct sum *sum, uint64_t value)
{
    const uint64_t both[2] = {sum->value, value};
    sum->value = hash_bytes(both, sizeof(both));
}

static void add_node(struct sum *sum, const struct tree_node *node)
{
    add(sum, (uint64_t)node->kind << 32 | node->line);
    add(sum, (uint64_t)node->n << 32 | node->weight);
    if (node->kind < TREE_SEQUENCE) {
        add(sum, hash_str(tree_text(node)));
        return;
    }
    uint32_t children = node->kind == TREE_MAPPING ? 2 * node->n : node->n;
    for (uint32_t i = 0; i < children; i++) {
        add_node(sum, tree_item(node, i));
    }
}

static enum err sum_document(void *arg, const struct tree_node *root)
{
    add_node(arg, root);
    return E_OK;
}

static void sum_diag(void *arg, const struct diag *d)
{
    add(arg, d->line);
    add(arg, d->reason);
}

static uint64_t sum_of(struct str a, struct str b)
{
    struct sum sum = {0};
    struct tree_sink sink = {&sum, sum_document, sum_diag};
    struct json_reader *r;
    must(json_reader_new(&sink, &r) == E_OK);
    enum err e = json_reader_feed(r, a);
    if (e == E_OK && b.n > 0) {
        e = json_reader_feed(r, b);
    }
    if (e == E_OK) {
        e = json_reader_end(r);
    }
    json_reader_free(r);
    add(&sum, e);
    return sum.value;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct str text = {(const char *)data, n};
    must(manifest_parse(STR("f.json"), text, on_object, on_diag, NULL) == E_OK);
    if (n > 1) {
        size_t at = 1 + data[n / 2] % (n - 1);
        must(sum_of(text, STR_EMPTY) == sum_of(str_first(text, at), str_from(text, at)));
    }
    return 0;
}
