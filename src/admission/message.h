/* admission/message.h: what was found, as text for the person who waits for kubectl: every error in
 * the message of a refusal, warnings as a list, both bounded. */
#pragma once

#include "base/buf.h"
#include "document/diag.h"

struct message {
    struct diag_list *errors, *warnings;
};

enum err message_init(struct message *m); /* E_NOMEM */
void message_fini(struct message *m);
/* A diag_fn over struct message. */
void message_add(void *message, const struct diag *d);
size_t message_error_n(const struct message *m); /* those that were too many included */
/* "2 errors: ..." or the one error alone, each with field, what, why, how to mend. */
void message_emit(const struct message *m, struct buf *out);
size_t message_warning_n(const struct message *m); /* for message_emit_warning() */
/* At most ADMISSION_WARNING_BYTES_MAX bytes of whole characters. i counts from 0. */
void message_emit_warning(const struct message *m, size_t i, struct buf *out);
