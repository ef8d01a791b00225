/* cli/out.h: results to standard output, complaints to standard error. */
#pragma once

#include "base/buf.h"
#include "base/err.h"

enum { CLI_OUT_BYTES_MAX = 1 << 30 };

/* All of it, however often the descriptor takes only a part. Errors: E_SYS. */
enum err out_write(int fd, struct str s);
/* Prints b to standard output; 0, or 1 with a message when b is bad or it cannot be written: the
 * exit status. */
int out_result(const struct buf *b);
/* "lintel: MESSAGE\n" to standard error. */
void out_complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* True when colours make sense on fd: a terminal that is not dumb, and NO_COLOR is not set. */
bool out_has_color(int fd);
