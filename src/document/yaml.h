/* document/yaml.h: YAML text into document trees; the only home of libyaml.
 * Scalars are typed as the users of kubectl expect it, that is, as go-yaml's YAML 1.1: unquoted
 * true/yes/on/y and false/no/off/n (in lower case, Capitalized or UPPER CASE) are booleans; null, ~
 * and nothing are null; 80, 0x50, 0o120, 0120, 0b11, 1_000, 1.5 and 1e3 are numbers; all else,
 * dates included, and everything quoted or in a block is a string. Keys are always strings, as
 * written. Anchors, aliases and merge keys (<<) are resolved; merged pairs never replace those that
 * stand in the mapping itself, and of several merged mappings the first one wins. Tags !!str,
 * !!int, !!float,
 * !!bool and !!null are obeyed, !!binary is refused, others are ignored. */
#pragma once

#include "document/tree.h"

/* Gives every document to the sink. After a syntax error reading goes on at the next line that
 * starts a document. UTF-8 only. Errors: E_NOMEM, what on_document returns. */
enum err yaml_parse(struct str content, const struct tree_sink *sink);
