/* document/json.h: JSON text into trees; the only home of yajl (chosen because it reports positions
 * and takes its input in pieces; measured two to ten times as fast as the packaged readers that
 * build trees). The text is strict JSON (RFC 8259) in UTF-8, one value after the other. */
#pragma once

#include "document/tree.h"

struct json_reader;

/* sink is copied. Errors: E_NOMEM. */
enum err json_reader_new(const struct tree_sink *sink, struct json_reader **ret);
void json_reader_free(struct json_reader *r); /* r may be NULL */
/* From the next value on: each element of its top-level array "items" goes to on_item as it ends
 * and is forgotten, and the value itself comes to on_document with that array empty. So a list of
 * any length takes the memory of its largest item. */
void json_reader_give_items(struct json_reader *r,
                            enum err (*on_item)(void *arg, const struct tree_node *item));
/* Gives each value that ends in this piece to the sink. After an error only json_reader_free() may
 * follow. Errors: E_PROTO (not JSON, or over a limit: the sink was told), E_NOMEM, what on_document
 * returns. */
enum err json_reader_feed(struct json_reader *r, struct str piece);
/* No more pieces come. Errors: as above. */
enum err json_reader_end(struct json_reader *r);

/* All in one. Errors: E_NOMEM, what on_document returns; not E_PROTO: the sink was told. */
enum err json_parse(struct str content, const struct tree_sink *sink);
