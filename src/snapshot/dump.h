/* snapshot/dump.h: what a segment or a state says, for people and for programs. Strings come out as
 * they are escaped for JSON, in the text form too, so that nothing in a manifest can forge a line.
 * Context: the offline commands and the admin port, not the worker. */
#pragma once

#include "base/buf.h"
#include "snapshot/snapshot.h"

enum snapshot_dump_form { SNAPSHOT_DUMP_TEXT, SNAPSHOT_DUMP_JSON };

/* A verified segment: its header, then its shards in the table's order. out->bad tells a failure.
 */
void snapshot_dump_segment(struct buf *out, const struct snapshot_segment *s,
                           enum snapshot_dump_form form);
/* The same for the state; sorted by kind and key. Errors: E_NOMEM. */
enum err snapshot_dump_state(struct buf *out, const struct snapshot *s,
                             enum snapshot_dump_form form);
