/* model/decode.h: from a document's tree to a typed object, with diagnostics for all that is wrong
 * with it. What a kind looks like stands in field tables (fields_*.c) which YAML and JSON share.
 * Unknown fields are ignored; a null is the same as a field that is not there. An object with an
 * error is refused whole, after all its errors are told (DIAGNOSTICS_PER_OBJECT_MAX at most).
 * The values of Secrets never appear in a diagnostic. */
#pragma once

#include "document/diag.h"
#include "document/tree.h"
#include "model/object.h"

struct decode_kind;

/* NULL when Lintel does not use that apiVersion and kind. */
const struct decode_kind *decode_kind_find(struct str api_version, struct str kind);
/* When kind is one of ours in another version of its API group or in another group of ours, the
 * apiVersion to write instead; else empty. */
struct str decode_kind_mend(struct str api_version, struct str kind);

struct decode_source {
    struct str file; /* empty: not from a file */
    diag_fn *on_diag;
    void *arg;
};

/* *ret is NULL when the object is refused. Errors: E_NOMEM. */
enum err decode_object(const struct decode_kind *kind, const struct tree_node *root,
                       const struct decode_source *source, struct object **ret);
