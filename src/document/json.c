/* JSON through yajl's callbacks.
 * yajl does not check its allocations: when one fails, the allocator leaves yajl by longjmp() to
 * the call of ours that entered it. yajl keeps no state outside of its memory, and all of that is
 * on a list here. A reader that failed is only freed. */
#include "document/json.h"

#include "base/list.h"
#include "base/mem.h"

#include <setjmp.h>
#include <stdalign.h>
#include <yajl/yajl_parse.h>

enum { WHY_TEXT_MAX = 160 };

struct json_block {
    alignas(16) struct list node;
};

struct json_reader {
    struct tree_sink sink;
    enum err (*on_item)(void *arg,
                        const struct tree_node *item); /* NULL: items stay in their list */
    struct tree tree;
    struct tree item; /* of the list that is in tree */
    bool is_in_items;
    yajl_handle handle;
    struct list blocks; /* yajl's memory */
    jmp_buf no_memory;
    struct str piece;
    size_t counted; /* bytes of piece whose line ends are in line */
    uint32_t line;
    enum err stop; /* why a callback ended the reading */
};

/* yajl's allocator. */

static void *block_use(struct json_reader *r, struct json_block *block)
{
    list_push(&r->blocks, &block->node);
    return block + 1;
}

static void *on_malloc(void *ctx, size_t size)
{
    struct json_reader *r = ctx;
    struct json_block *block = size > SIZE_MAX / 2 ? NULL : mem_alloc(sizeof(*block) + size);
    if (block == NULL) {
        longjmp(r->no_memory, 1);
    }
    return block_use(r, block);
}

static void *on_realloc(void *ctx, void *p, size_t size)
{
    struct json_reader *r = ctx;
    if (p == NULL) {
        return on_malloc(ctx, size);
    }
    struct json_block *block = (struct json_block *)p - 1;
    list_del(&block->node);
    struct json_block *moved =
        size > SIZE_MAX / 2 ? NULL : mem_resize(block, sizeof(*block) + size, 1);
    if (moved == NULL) {
        list_push(&r->blocks, &block->node);
        longjmp(r->no_memory, 1);
    }
    return block_use(r, moved);
}

static void on_free(void *ctx, void *p)
{
    (void)ctx;
    if (p != NULL) {
        struct json_block *block = (struct json_block *)p - 1;
        list_del(&block->node);
        mem_free(block);
    }
}

/* Callbacks. */

/* Only forward; tokens come in order. */
static uint32_t line_now(struct json_reader *r)
{
    size_t at = yajl_get_bytes_consumed(r->handle);
    while (r->counted < at && r->counted < r->piece.n) {
        size_t skipped = str_find(str_first(str_from(r->piece, r->counted), at - r->counted), '\n');
        r->counted += skipped + 1;
        r->line += r->counted <= at;
    }
    r->counted = at;
    return r->line;
}

static enum err complain(struct json_reader *r, enum diag_reason reason, struct str what,
                         struct str why, struct str mend)
{
    r->sink.on_diag(r->sink.arg, &(struct diag){
                                     .severity = DIAG_ERROR,
                                     .reason = reason,
                                     .line = line_now(r),
                                     .what = what,
                                     .why = why,
                                     .mend = mend,
                                 });
    return E_PROTO;
}

/* The tree that grows now. */
static struct tree *tree_now(struct json_reader *r)
{
    return r->is_in_items ? &r->item : &r->tree;
}

static int after(struct json_reader *r, enum err e)
{
    struct tree *t = tree_now(r);
    if (e == E_OK && tree_is_complete(t)) {
        e = (t == &r->item ? r->on_item : r->sink.on_document)(r->sink.arg, tree_root(t));
        tree_reset(t);
    }
    r->stop = e;
    return e == E_OK;
}

static int scalar(struct json_reader *r, enum tree_kind kind, struct str text, bool is_true)
{
    struct tree_node node = {.p = text.p,
                             .n = (uint32_t)text.n,
                             .line = line_now(r),
                             .kind = (uint8_t)kind,
                             .is_true = is_true};
    return after(r,
                 text.n > MANIFEST_FILE_BYTES_MAX ? E_LIMIT : tree_add_scalar(tree_now(r), node));
}

static int on_null(void *ctx)
{
    return scalar(ctx, TREE_NULL, STR("null"), false);
}

static int on_boolean(void *ctx, int value)
{
    return scalar(ctx, TREE_BOOL, value ? STR("true") : STR("false"), value != 0);
}

static int on_number(void *ctx, const char *p, size_t n)
{
    return scalar(ctx, TREE_NUMBER, (struct str){p, n}, false);
}

static bool utf8_is_valid(const unsigned char *p, size_t n)
{
    size_t i = 0;
    while (i < n) {
        size_t length = p[i] < 0x80 ? 1 : str_utf8_n(str_make((const char *)p + i, n - i));
        if (length == 0) {
            return false;
        }
        i += length;
    }
    return true;
}

static int on_string(void *ctx, const unsigned char *p, size_t n)
{
    if (!utf8_is_valid(p, n)) { /* yajl's own check lets overlong forms through */
        return after(ctx, complain(ctx, DIAG_MalformedDocument, STR("is not UTF-8"),
                                   STR("JSON is written in UTF-8"), STR("save it as UTF-8")));
    }
    return scalar(ctx, TREE_STRING, (struct str){(const char *)p, n}, false);
}

static int on_begin_mapping(void *ctx)
{
    struct json_reader *r = ctx;
    return after(r, tree_begin(tree_now(r), TREE_MAPPING, line_now(r)));
}

/* True when the value that comes next is that of "items" in the outermost mapping. */
static bool is_at_items(const struct json_reader *r)
{
    const struct tree *t = &r->tree;
    return r->on_item != NULL && !r->is_in_items && t->depth == 1 &&
           t->frames[0].node.kind == TREE_MAPPING && (t->open_n - t->frames[0].first) % 2 == 1 &&
           str_eq(tree_text(&t->open[t->open_n - 1]), STR("items"));
}

static int on_begin_sequence(void *ctx)
{
    struct json_reader *r = ctx;
    bool has_items = is_at_items(r);
    if (!after(r, tree_begin(tree_now(r), TREE_SEQUENCE, line_now(r)))) {
        return false;
    }
    r->is_in_items |= has_items;
    return true;
}

static int on_end(void *ctx)
{
    struct json_reader *r = ctx;
    if (r->is_in_items && r->item.depth == 0) { /* the end of the items, not of one */
        r->is_in_items = false;
    }
    return after(r, tree_end(tree_now(r)));
}

static const yajl_callbacks callbacks = {
    .yajl_null = on_null,
    .yajl_boolean = on_boolean,
    .yajl_number = on_number,
    .yajl_string = on_string,
    .yajl_start_map = on_begin_mapping,
    .yajl_map_key = on_string,
    .yajl_end_map = on_end,
    .yajl_start_array = on_begin_sequence,
    .yajl_end_array = on_end,
};

/* The reader. */

/* yajl's text is "parse error: ...\n" or "lexical error: ...\n". */
static enum err complain_syntax(struct json_reader *r)
{
    char why[WHY_TEXT_MAX];
    struct wr w = wr_make(why, sizeof(why));
    unsigned char *text = yajl_get_error(r->handle, 0, NULL, 0);
    struct str problem, rest;
    (void)str_cut(str_from_cstr((const char *)text), '\n', &problem, &rest);
    wr_str(&w, str_first(problem, sizeof(why)));
    yajl_free_error(r->handle, text);
    return complain(r, DIAG_MalformedDocument, STR("is not JSON"), (struct str){why, wr_n(&w)},
                    STR("check commas, quotes and brackets here; name a YAML file .yaml"));
}

static enum err status_to_err(struct json_reader *r, yajl_status status)
{
    switch (status) {
    case yajl_status_ok:
        return E_OK;
    case yajl_status_client_canceled:
        return r->stop != E_LIMIT ? r->stop
                                  : complain(r, DIAG_LimitReached, STR("is too large"),
                                             tree_limit_text(tree_now(r)), STR("split it"));
    case yajl_status_error:
        return complain_syntax(r);
    }
    return E_PROTO;
}

/* In a frame of its own, which stays until yajl is left. */
static enum err handle_open(struct json_reader *r)
{
    yajl_alloc_funcs functions = {on_malloc, on_realloc, on_free, r};
    if (setjmp(r->no_memory) != 0) {
        return E_NOMEM;
    }
    r->handle = yajl_alloc(&callbacks, &functions, r);
    (void)yajl_config(r->handle, yajl_allow_multiple_values, 1); /* cannot fail */
    (void)yajl_config(r->handle, yajl_dont_validate_strings, 1); /* on_string() does it */
    return E_OK;
}

enum err json_reader_new(const struct tree_sink *sink, struct json_reader **ret)
{
    struct json_reader *r = mem_calloc(1, sizeof(*r));
    if (r == NULL) {
        return E_NOMEM;
    }
    r->sink = *sink;
    r->line = 1;
    list_init(&r->blocks);
    tree_init(&r->tree);
    tree_init(&r->item);
    enum err e = handle_open(r);
    if (e != E_OK) {
        json_reader_free(r);
        return e;
    }
    *ret = r;
    return E_OK;
}

void json_reader_free(struct json_reader *r)
{
    if (r == NULL) {
        return;
    }
    list_each(node, &r->blocks)
    {
        mem_free(container_of(node, struct json_block, node));
    }
    tree_fini(&r->tree);
    tree_fini(&r->item);
    mem_free(r);
}

void json_reader_give_items(struct json_reader *r,
                            enum err (*on_item)(void *arg, const struct tree_node *item))
{
    r->on_item = on_item;
}

enum err json_reader_feed(struct json_reader *r, struct str piece)
{
    r->piece = piece;
    r->counted = 0;
    if (setjmp(r->no_memory) != 0) {
        return E_NOMEM;
    }
    TRY(status_to_err(r, yajl_parse(r->handle, (const unsigned char *)piece.p, piece.n)));
    (void)line_now(r); /* counts the rest */
    return E_OK;
}

enum err json_reader_end(struct json_reader *r)
{
    r->piece = STR_EMPTY;
    r->counted = 0;
    if (setjmp(r->no_memory) != 0) {
        return E_NOMEM;
    }
    return status_to_err(r, yajl_complete_parse(r->handle));
}

enum err json_parse(struct str content, const struct tree_sink *sink)
{
    struct json_reader *r;
    if (str_has_prefix(content, STR("\xef\xbb\xbf"))) { /* a byte order mark: RFC 8259 §8.1 */
        content = str_from(content, 3);
    }
    TRY(json_reader_new(sink, &r));
    enum err e = json_reader_feed(r, content);
    if (e == E_OK) {
        e = json_reader_end(r);
    }
    json_reader_free(r);
    return e == E_PROTO ? E_OK : e;
}
