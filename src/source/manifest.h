/* source/manifest.h: one manifest file: bytes in, typed objects and diagnostics out.
 * A file holds any number of YAML documents or JSON values; `kind: List` and IngressList and its
 * like are opened up. A bad object never takes others down: it is refused with diagnostics and the
 * rest of the file counts. After a YAML syntax error the documents before it still count, the
 * broken one is dropped, and reading goes on at the next line that starts a document (`---`). A
 * JSON syntax error ends the file, because JSON has no such mark. Objects of kinds that Lintel does
 * not use are skipped without a word, except for other versions of ours (extensions/v1beta1
 * Ingress): those get a warning that says what to write. */
#pragma once

#include "model/decode.h"

/* Takes o. */
typedef void manifest_object_fn(void *arg, struct object *o);

/* file_name ends in .json: JSON; in .yaml or .yml: YAML; else JSON when the first character is '{',
 * YAML otherwise. Objects and diagnostics come in the order of the file. arg goes to both
 * callbacks. Errors: E_NOMEM; a bad file is no error, its diagnostics say what is wrong. */
enum err manifest_parse(struct str file_name, struct str content, manifest_object_fn *on_object,
                        diag_fn *on_diag, void *arg);
