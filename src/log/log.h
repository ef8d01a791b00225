/* log/log.h: one line for each event worth a person's time, to stderr, as
 * "2026-01-02T03:04:05Z LEVEL process message key=value ...". Called by whoever turns an error into
 * an action (floors 4 and 5), never by libraries, never once per request. Cuts off lines over 4 KB.
 */
#pragma once

#include "base/str.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* name: "supervisor", "controller", "worker 0"; copied, cut at 31 bytes. */
void log_init(const char *name, enum log_level most);
void log_line(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));
