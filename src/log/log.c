/* Log lines: built on the stack, written with one write(2) of at most PIPE_BUF bytes, so that lines
 * of several processes do not mix. Never waits for whoever reads: a line that does not fit now is
 * counted, and the next one that fits says how many were lost. Control characters become '?': what
 * a peer or a manifest says cannot forge a line. */
#include "log/log.h"

#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "wire/date.h"

enum { LINE_BYTES_MAX = 4096, NAME_BYTES_MAX = 31 };

/* Process-wide because stderr is; one thread. */
static struct {
    char name[NAME_BYTES_MAX + 1];
    enum log_level most;
    uint64_t lost_n;
} out = {.name = "lintel", .most = LOG_INFO};

void log_init(const char *name, enum log_level most)
{
    (void)snprintf(out.name, sizeof(out.name), "%s", name); /* cut by contract */
    out.most = most;
}

static struct str level_name(enum log_level level)
{
    switch (level) {
    case LOG_ERROR:
        return STR("ERROR");
    case LOG_WARN:
        return STR("WARN");
    case LOG_INFO:
        return STR("INFO");
    case LOG_DEBUG:
        return STR("DEBUG");
    }
    return STR("?");
}

static void line_begin(struct wr *w, enum log_level level)
{
    date_emit_rfc3339(w, (int64_t)(clock_wall() / USEC_PER_SEC));
    wr_char(w, ' ');
    wr_str(w, level_name(level));
    wr_char(w, ' ');
    wr_str(w, str_from_cstr(out.name));
    wr_char(w, ' ');
}

static void controls_hide(char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)p[i];
        p[i] = c < 0x20 || c == 0x7f ? '?' : p[i];
    }
}

/* One system call; gives up where a write would wait. */
static bool line_write(const char *p, size_t n)
{
    struct pollfd ready = {.fd = STDERR_FILENO, .events = POLLOUT};
    if (poll(&ready, 1, 0) != 1 || (ready.revents & POLLOUT) == 0) {
        return false;
    }
    return write(STDERR_FILENO, p, n) == (ssize_t)n;
}

static void lost_tell(void)
{
    char line[256];
    struct wr w = wr_make(line, sizeof(line));
    line_begin(&w, LOG_WARN);
    wr_str(&w, STR("log lines were lost, stderr was full lost="));
    wr_u64(&w, out.lost_n);
    wr_char(&w, '\n');
    if (line_write(line, wr_n(&w))) {
        out.lost_n = 0;
    }
}

void log_line(enum log_level level, const char *format, ...)
{
    char line[LINE_BYTES_MAX];
    if (level > out.most) {
        return;
    }
    struct wr w = wr_make(line, sizeof(line));
    line_begin(&w, level);
    size_t room = (size_t)(w.end - w.p); /* the newline takes the place of the NUL */
    va_list args;
    va_start(args, format);
    int n = vsnprintf(w.p, room, format, args);
    va_end(args);
    size_t text_n = n < 0 ? 0 : (size_t)n < room ? (size_t)n : room - 1;
    controls_hide(w.p, text_n);
    w.p[text_n] = '\n';
    if (out.lost_n > 0) {
        lost_tell();
    }
    if (!line_write(line, wr_n(&w) + text_n + 1)) {
        out.lost_n++;
    }
}
