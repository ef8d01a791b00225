/* YAML through libyaml's events.
 * The text is cut into documents first, at lines that begin with "---" or "...", and each is read
 * by a parser of its own: so whatever is wrong with one, bytes that are not UTF-8 included, stays
 * in it. The cut is safe, because no scalar may hold such a line (YAML 1.1, 4.1.2 c-forbidden).
 * libyaml takes its memory from malloc() and checks it; everything of ours is in the tree. */
#include "document/yaml.h"

#include "base/hash.h"
#include "base/mem.h"
#include "base/vec.h"
#include "document/yaml_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

enum { WHY_TEXT_MAX = 256, ANCHORS_MAX = 1 << 20 };

struct anchor { /* in the tree's arena */
    struct str name;
    struct tree_node node;
    bool is_complete; /* its node has ended */
};

struct yaml_level {
    struct anchor *anchor; /* of this sequence or mapping; NULL = none */
    bool is_mapping, is_key_next, has_merge;
};

struct yaml_reader {
    const struct tree_sink *sink;
    struct tree tree;
    struct map anchors;
    struct yaml_level levels[MANIFEST_DEPTH_MAX];
    uint32_t first_line; /* of the document being read, from 1 */
};

/* Diagnostics. */

static void complain(const struct yaml_reader *r, enum diag_reason reason, uint32_t line,
                     const char *what, const char *why, const char *mend)
{
    const struct tree_sink *sink = r->sink;
    sink->on_diag(sink->arg, &(struct diag){
                                 .severity = DIAG_ERROR,
                                 .reason = reason,
                                 .line = line,
                                 .what = str_from_cstr(what),
                                 .why = str_from_cstr(why),
                                 .mend = str_from_cstr(mend),
                             });
}

/* What is wrong with the document itself is told here; E_PROTO drops it. */
static enum err refuse(const struct yaml_reader *r, uint32_t line, const char *what,
                       const char *why, const char *mend)
{
    complain(r, DIAG_MalformedDocument, line, what, why, mend);
    return E_PROTO;
}

static uint32_t line_at(const struct yaml_reader *r, yaml_mark_t mark)
{
    return r->first_line + (uint32_t)mark.line;
}

static uint32_t lines_before(struct str text, size_t end)
{
    uint32_t n = 0;
    for (size_t i = 0; i < end && i < text.n; i++) {
        n += text.p[i] == '\n';
    }
    return n;
}

static const char *hint_for(const char *problem)
{
    static const struct {
        const char *part, *mend;
    } hints[] = {
        {"cannot start any token",         "indent with spaces, not tabs; quote a value that begins with "
                                   "one of @ ` %"                         },
        {"mapping values are not allowed",
         "check the indentation, or quote a value that has ': ' in it"                                      },
        {"did not find expected key",      "check the indentation of this line and of the ones above"       },
        {"could not find expected ':'",    "write 'key: value'; check the indentation"                      },
        {"expected <block end>",           "check the indentation of this line and of the ones above"       },
        {"block sequence entries",         "begin the list on a line of its own"                            },
        {"unexpected end of stream",       "close the quote or bracket that is open"                        },
        {"unexpected document indicator",  "close the quote or bracket that is open"                        },
        {"UTF-8",                          "save the file as UTF-8"                                         },
        {"UTF-16",                         "save the file as UTF-8"                                         },
        {"control characters",             "remove the character, or write it as an escape in double quotes"},
    };
    for (size_t i = 0; i < sizeof(hints) / sizeof(hints[0]); i++) {
        if (strstr(problem, hints[i].part) != NULL) {
            return hints[i].mend;
        }
    }
    return NULL;
}

static enum err tell_syntax(const struct yaml_reader *r, const yaml_parser_t *parser,
                            struct str text)
{
    char why[WHY_TEXT_MAX];
    const char *problem = parser->problem != NULL ? parser->problem : "unknown problem";
    if (parser->error == YAML_MEMORY_ERROR) {
        return E_NOMEM;
    }
    uint32_t line = parser->error == YAML_READER_ERROR
                        ? r->first_line + lines_before(text, parser->problem_offset)
                        : line_at(r, parser->problem_mark);
    if (parser->context != NULL && parser->error != YAML_READER_ERROR) {
        (void)snprintf(why, sizeof(why), "%s, %s that began in line %u", problem, parser->context,
                       line_at(r, parser->context_mark));
    } else {
        (void)snprintf(why, sizeof(why), "%s", problem);
    }
    return refuse(r, line, "is not YAML", why, hint_for(problem));
}

/* Scalars. */

static bool is_tag(const yaml_char_t *tag, const char *name)
{
    return tag != NULL && strcmp((const char *)tag, name) == 0;
}

static bool is_core_tag(const yaml_char_t *tag)
{
    return is_tag(tag, YAML_INT_TAG) || is_tag(tag, YAML_FLOAT_TAG) || is_tag(tag, YAML_BOOL_TAG) ||
           is_tag(tag, YAML_NULL_TAG);
}

static void scalar_type(const yaml_event_t *event, struct tree_node *node)
{
    const yaml_char_t *tag = event->data.scalar.tag;
    bool is_plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE || is_core_tag(tag);
    node->kind = TREE_STRING;
    if (is_plain && !is_tag(tag, YAML_STR_TAG) && !is_tag(tag, "!")) {
        yaml_plain_type(node);
    }
}

/* Anchors. */

static bool anchor_eq(const void *value, const void *key)
{
    const struct anchor *anchor = value;
    return str_eq(anchor->name, *(const struct str *)key);
}

/* *ret stays NULL when there is no name. A later anchor of a name hides an earlier one. */
static enum err anchor_add(struct yaml_reader *r, const yaml_char_t *name, struct anchor **ret)
{
    if (name == NULL) {
        return E_OK;
    }
    struct str text = str_from_cstr((const char *)name);
    uint64_t hash = hash_str(text);
    struct anchor *anchor = arena_calloc(&r->tree.arena, 1, sizeof(*anchor));
    if (anchor == NULL || !arena_str(&r->tree.arena, text, &anchor->name)) {
        return E_NOMEM;
    }
    const struct anchor *old = map_get(&r->anchors, hash, anchor_eq, &text);
    if (old != NULL) {
        map_replace(&r->anchors, hash, old, anchor);
    } else {
        TRY(map_add(&r->anchors, hash, anchor));
    }
    *ret = anchor;
    return E_OK;
}

static void anchor_complete(const struct yaml_reader *r, struct anchor *anchor)
{
    if (anchor != NULL) {
        anchor->node = r->tree.open[r->tree.open_n - 1];
        anchor->is_complete = true;
    }
}

/* Merge keys. While a mapping is open, its merge keys are key nodes of kind TREE_NULL. */

struct merge_entry {
    struct str key;
    uint32_t rank; /* 0: stands in the mapping itself; then in order of precedence */
    const struct tree_node *pair;
};

struct merge {
    struct merge_entry *entries;
    size_t n, cap;
    uint32_t rank;
};

static int merge_cmp(const void *a, const void *b)
{
    const struct merge_entry *x = a, *y = b;
    int order = str_cmp(x->key, y->key);
    return order != 0 ? order : (x->rank > y->rank) - (x->rank < y->rank);
}

static enum err merge_add(struct merge *m, const struct tree_node *pair, uint32_t rank)
{
    TRY(VEC_ROOM(m->entries, m->n, m->cap, MANIFEST_NODES_MAX));
    m->entries[m->n++] = (struct merge_entry){tree_text(pair), rank, pair};
    return E_OK;
}

static enum err merge_mapping(const struct yaml_reader *r, struct merge *m,
                              const struct tree_node *mapping)
{
    if (mapping->kind != TREE_MAPPING) {
        return refuse(r, mapping->line, "merges something else than a mapping",
                      "<< takes a mapping or a list of mappings", NULL);
    }
    for (uint32_t i = 0; i < mapping->n; i++) {
        TRY(merge_add(m, tree_key(mapping, i), ++m->rank));
    }
    return E_OK;
}

static enum err merge_value(const struct yaml_reader *r, struct merge *m,
                            const struct tree_node *value)
{
    if (value->kind != TREE_SEQUENCE) {
        return merge_mapping(r, m, value);
    }
    for (uint32_t i = 0; i < value->n; i++) {
        TRY(merge_mapping(r, m, tree_item(value, i)));
    }
    return E_OK;
}

static enum err merge_collect(const struct yaml_reader *r, struct merge *m, size_t first)
{
    const struct tree *t = &r->tree;
    for (size_t i = first; i < t->open_n; i += 2) {
        const struct tree_node *key = &t->open[i];
        TRY(key->kind == TREE_NULL ? merge_value(r, m, key + 1) : merge_add(m, key, 0));
    }
    return E_OK;
}

/* Keeps the merged pairs whose keys are new; those lie in the arena and do not move. */
static void merge_choose(struct merge *m)
{
    size_t kept = 0;
    if (m->n == 0) {
        return;
    }
    qsort(m->entries, m->n, sizeof(*m->entries), merge_cmp);
    for (size_t i = 0; i < m->n; i++) {
        bool is_new = i == 0 || !str_eq(m->entries[i].key, m->entries[i - 1].key);
        if (is_new && m->entries[i].rank > 0) {
            /* Only slots already passed are written, and their keys are still needed once. */
            m->entries[i].rank = UINT32_MAX;
        }
    }
    for (size_t i = 0; i < m->n; i++) {
        if (m->entries[i].rank == UINT32_MAX) {
            m->entries[kept++] = m->entries[i];
        }
    }
    m->n = kept;
}

static void merge_keys_drop(struct tree *t, size_t first)
{
    size_t to = first;
    for (size_t i = first; i < t->open_n; i += 2) {
        if (t->open[i].kind == TREE_NULL) {
            t->node_n -= t->open[i].weight + t->open[i + 1].weight;
            continue;
        }
        t->open[to] = t->open[i];
        t->open[to + 1] = t->open[i + 1];
        to += 2;
    }
    t->open_n = to;
}

static enum err merge_apply(struct yaml_reader *r, struct merge *m)
{
    size_t first = r->tree.frames[r->tree.depth - 1].first;
    TRY(merge_collect(r, m, first));
    merge_choose(m);
    merge_keys_drop(&r->tree, first);
    for (size_t i = 0; i < m->n; i++) {
        TRY(tree_add(&r->tree, m->entries[i].pair[0]));
        TRY(tree_add(&r->tree, m->entries[i].pair[1]));
    }
    return E_OK;
}

static enum err merge_run(struct yaml_reader *r)
{
    struct merge m = {0};
    enum err e = merge_apply(r, &m);
    mem_free(m.entries);
    return e;
}

/* Events. */

/* The level we are in; NULL at the top. */
static struct yaml_level *level_of(struct yaml_reader *r)
{
    return r->tree.depth > 0 ? &r->levels[r->tree.depth - 1] : NULL;
}

static bool is_key_next(struct yaml_reader *r)
{
    const struct yaml_level *level = level_of(r);
    return level != NULL && level->is_mapping && level->is_key_next;
}

static void take_turn(struct yaml_reader *r)
{
    struct yaml_level *level = level_of(r);
    if (level != NULL) {
        level->is_key_next = !level->is_key_next;
    }
}

static void key_type(struct yaml_reader *r, const yaml_event_t *event, struct tree_node *node)
{
    struct yaml_level *level = level_of(r);
    bool is_merge =
        str_eq(tree_text(node), STR("<<")) && event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    node->kind = is_merge ? TREE_NULL : TREE_STRING;
    level->has_merge = level->has_merge || is_merge;
}

static enum err on_scalar(struct yaml_reader *r, const yaml_event_t *event)
{
    struct tree_node node = {.p = event->data.scalar.value,
                             .n = (uint32_t)event->data.scalar.length,
                             .line = line_at(r, event->start_mark)};
    struct anchor *anchor = NULL;
    if (is_tag(event->data.scalar.tag, "tag:yaml.org,2002:binary")) {
        return refuse(r, node.line, "has the tag !!binary", "it is not supported",
                      "write base64 in a Secret's data without a tag");
    }
    TRY(anchor_add(r, event->data.scalar.anchor, &anchor));
    if (is_key_next(r)) {
        key_type(r, event, &node);
    } else {
        scalar_type(event, &node);
    }
    TRY(tree_add_scalar(&r->tree, node));
    anchor_complete(r, anchor);
    take_turn(r);
    return E_OK;
}

static enum err on_alias(struct yaml_reader *r, const yaml_event_t *event)
{
    struct str name = str_from_cstr((const char *)event->data.alias.anchor);
    uint32_t line = line_at(r, event->start_mark);
    const struct anchor *anchor = map_get(&r->anchors, hash_str(name), anchor_eq, &name);
    if (anchor == NULL) {
        return refuse(r, line, "uses an alias that is not defined",
                      "an anchor stands above its alias, in the same document", NULL);
    }
    if (!anchor->is_complete) {
        return refuse(r, line, "uses an alias inside of its own anchor",
                      "a value cannot hold itself", NULL);
    }
    struct tree_node node = anchor->node;
    if (is_key_next(r)) {
        if (node.height > 0) {
            return refuse(r, line, "has a mapping or list as key", "keys are strings", NULL);
        }
        node.kind = TREE_STRING;
    }
    TRY(tree_add(&r->tree, node));
    take_turn(r);
    return E_OK;
}

static enum err on_begin(struct yaml_reader *r, enum tree_kind kind, const yaml_event_t *event,
                         const yaml_char_t *name)
{
    struct anchor *anchor = NULL;
    uint32_t line = line_at(r, event->start_mark);
    if (is_key_next(r)) {
        return refuse(r, line, "has a mapping or list as key", "keys are strings",
                      "quote a key that begins with { or [");
    }
    TRY(anchor_add(r, name, &anchor));
    TRY(tree_begin(&r->tree, kind, line));
    *level_of(r) = (struct yaml_level){
        .anchor = anchor, .is_mapping = kind == TREE_MAPPING, .is_key_next = true};
    return E_OK;
}

static enum err on_end(struct yaml_reader *r)
{
    const struct yaml_level *level = level_of(r);
    if (level->has_merge) {
        TRY(merge_run(r));
    }
    struct anchor *anchor = level->anchor;
    TRY(tree_end(&r->tree));
    anchor_complete(r, anchor);
    take_turn(r);
    return E_OK;
}

static void document_begin(struct yaml_reader *r)
{
    tree_reset(&r->tree);
    map_fini(&r->anchors);
}

static enum err on_event(struct yaml_reader *r, const yaml_event_t *event)
{
    switch (event->type) {
    case YAML_DOCUMENT_START_EVENT:
        document_begin(r);
        return E_OK;
    case YAML_DOCUMENT_END_EVENT:
        return r->sink->on_document(r->sink->arg, tree_root(&r->tree));
    case YAML_SCALAR_EVENT:
        return on_scalar(r, event);
    case YAML_ALIAS_EVENT:
        return on_alias(r, event);
    case YAML_SEQUENCE_START_EVENT:
        return on_begin(r, TREE_SEQUENCE, event, event->data.sequence_start.anchor);
    case YAML_MAPPING_START_EVENT:
        return on_begin(r, TREE_MAPPING, event, event->data.mapping_start.anchor);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        return on_end(r);
    case YAML_NO_EVENT:
    case YAML_STREAM_START_EVENT:
    case YAML_STREAM_END_EVENT:
        return E_OK;
    }
    return E_OK;
}

/* Errors: E_PROTO (told), and what on_event() gives. */
static enum err events_read(struct yaml_reader *r, yaml_parser_t *parser, struct str text)
{
    bool is_end = false;
    while (!is_end) {
        yaml_event_t event;
        if (!yaml_parser_parse(parser, &event)) {
            return tell_syntax(r, parser, text);
        }
        enum err e = on_event(r, &event);
        uint32_t line = line_at(r, event.start_mark);
        is_end = event.type == YAML_STREAM_END_EVENT;
        yaml_event_delete(&event);
        if (e == E_LIMIT) {
            complain(r, DIAG_LimitReached, line, "is too large", tree_limit_text(&r->tree).p,
                     "split it");
            return E_PROTO;
        }
        TRY(e);
    }
    return E_OK;
}

static enum err part_read(struct yaml_reader *r, struct str text, uint32_t first_line)
{
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser)) {
        return E_NOMEM;
    }
    r->first_line = first_line;
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text.p, text.n);
    enum err e = events_read(r, &parser, text);
    yaml_parser_delete(&parser);
    document_begin(r); /* forgets what a broken document left */
    return e == E_PROTO ? E_OK : e;
}

/* Cutting into documents. */

enum line_type { LINE_EMPTY, LINE_TEXT, LINE_START, LINE_END };

static bool is_mark(struct str line, struct str mark)
{
    return str_has_prefix(line, mark) && (line.n == mark.n || line.p[mark.n] == ' ' ||
                                          line.p[mark.n] == '\t' || line.p[mark.n] == '\r');
}

/* Directives count as empty: they belong to the document that begins below them. */
static enum line_type line_type(struct str line)
{
    if (is_mark(line, STR("---"))) {
        return LINE_START;
    }
    if (is_mark(line, STR("..."))) {
        return LINE_END;
    }
    struct str text = str_trim(line);
    bool is_empty = text.n == 0 || text.p[0] == '#' || text.p[0] == '\r' || line.p[0] == '%';
    return is_empty ? LINE_EMPTY : LINE_TEXT;
}

struct cut {
    struct str rest;
    uint32_t line; /* of rest's first line */
};

/* Takes the next document with its marks. */
static struct str cut_next(struct cut *c, uint32_t *ret_line)
{
    struct str rest = c->rest, line;
    bool has_content = false, is_over = false;
    *ret_line = c->line;
    while (rest.n > 0 && !is_over) {
        size_t end = str_find(rest, '\n');
        line = str_first(rest, end);
        enum line_type type = line_type(line);
        if (type == LINE_START && has_content) {
            break;
        }
        is_over = type == LINE_END;
        has_content = has_content || type != LINE_EMPTY;
        rest = str_from(rest, end + 1);
        c->line++;
    }
    struct str text = str_first(c->rest, c->rest.n - rest.n);
    c->rest = rest;
    return text;
}

enum err yaml_parse(struct str content, const struct tree_sink *sink)
{
    struct yaml_reader *r = mem_calloc(1, sizeof(*r)); /* too large for a stack */
    if (r == NULL) {
        return E_NOMEM;
    }
    r->sink = sink;
    tree_init(&r->tree);
    map_init(&r->anchors);
    bool has_mark = str_has_prefix(content, STR("\xef\xbb\xbf")); /* byte order mark */
    struct cut cut = {str_from(content, has_mark ? 3 : 0), 1};
    enum err e = E_OK;
    while (cut.rest.n > 0 && e == E_OK) {
        uint32_t line;
        struct str text = cut_next(&cut, &line);
        e = part_read(r, text, line);
    }
    map_fini(&r->anchors);
    tree_fini(&r->tree);
    mem_free(r);
    return e;
}
