/* document/tree.h: a YAML or JSON document as a tree of nodes, and the builder that both readers
 * feed. Nodes and texts live in the tree's arena until the next document begins. Two mappings may
 * share children (YAML aliases); every walk is bounded all the same, because depth and node count
 * are limited as if each alias were written out. */
#pragma once

#include "base/arena.h"
#include "base/limits.h"
#include "document/diag.h"

enum tree_kind {
    TREE_NULL,
    TREE_BOOL,   /* text as written; see is_true */
    TREE_NUMBER, /* text as written */
    TREE_STRING, /* text may hold any byte, NUL as well */
    TREE_SEQUENCE,
    TREE_MAPPING
};

struct tree_node {
    const void *p;   /* text; n nodes (sequence); n pairs of key and value nodes (mapping) */
    uint32_t n;      /* bytes, items or pairs */
    uint32_t line;   /* where it begins, from 1 */
    uint32_t weight; /* nodes from here down */
    uint8_t kind;    /* enum tree_kind */
    uint8_t height;  /* levels of sequences and mappings from here down; 0 = scalar */
    bool is_true;    /* TREE_BOOL */
};

static inline struct str tree_text(const struct tree_node *node)
{
    return (struct str){node->p, node->n};
}

static inline const struct tree_node *tree_item(const struct tree_node *sequence, uint32_t i)
{
    return (const struct tree_node *)sequence->p + i;
}

static inline const struct tree_node *tree_key(const struct tree_node *mapping, uint32_t i)
{
    return (const struct tree_node *)mapping->p + 2 * (size_t)i;
}

static inline const struct tree_node *tree_value(const struct tree_node *mapping, uint32_t i)
{
    return tree_key(mapping, i) + 1;
}

/* The value of the last pair with that key; NULL when there is none, when it is null, and when node
 * is NULL or not a mapping. */
const struct tree_node *tree_get(const struct tree_node *node, struct str key);
/* The text of such a value when it is a string, else empty. */
struct str tree_get_string(const struct tree_node *node, struct str key);
/* A whole number: decimal, and the forms of YAML 1.1 (0x1f, 0o17, 017, 0b11, 1_000). False for
 * everything else, fractions and overflow included. */
bool tree_to_int(const struct tree_node *node, int64_t *ret);

struct tree_frame {
    struct tree_node node;
    size_t first; /* of its children in tree.open */
};

struct tree {
    struct arena arena;
    struct tree_node *open; /* children of what is still open; then the root */
    size_t open_n, open_cap;
    struct tree_frame frames[MANIFEST_DEPTH_MAX];
    uint32_t depth;
    uint32_t node_n;
    bool is_too_deep; /* the E_LIMIT was for depth, not for the number of nodes */
};

void tree_init(struct tree *t);
void tree_fini(struct tree *t);
/* Forgets the document; nodes from it are gone. */
void tree_reset(struct tree *t);

/* Each adds the next child of the innermost open node, or the root. In a mapping keys (string
 * nodes) and values take turns; the caller sees to it.
 * Errors: E_LIMIT (MANIFEST_DEPTH_MAX, MANIFEST_NODES_MAX), E_NOMEM. */
enum err tree_add(struct tree *t, struct tree_node node);
/* Copies the node's text, which is outside of the tree, into the arena. */
enum err tree_add_scalar(struct tree *t, struct tree_node node);
enum err tree_begin(struct tree *t, enum tree_kind kind, uint32_t line);
enum err tree_end(struct tree *t);
/* True when nothing is open and there is a root. */
bool tree_is_complete(const struct tree *t);
const struct tree_node *tree_root(const struct tree *t);
/* For a diagnostic after E_LIMIT: which limit it was. */
struct str tree_limit_text(const struct tree *t);

/* What a reader gives its documents and problems to. */
struct tree_sink {
    void *arg;
    /* The nodes are borrowed for the call. An error ends the reading. */
    enum err (*on_document)(void *arg, const struct tree_node *root);
    diag_fn *on_diag; /* without file and object */
};
