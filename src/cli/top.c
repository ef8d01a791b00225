/* lintel top: asks a running Lintel every interval and shows what happened in between: on a
 * terminal as a page that stays, elsewhere one view after the other.
 *
 *   ask -> wait for the interval, a key or a signal -> ask -> show -> wait -> ...
 *
 * The terminal is put back whatever ends it: signals are read from a descriptor, so that no handler
 * runs in the middle of anything. */
#include "cli/ask.h"
#include "cli/commands.h"
#include "cli/out.h"
#include "cli/top_view.h"

#include "base/mem.h"

#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

enum { COLUMNS_DEFAULT = 120, COLUMNS_MAX = 500, KEY_CTRL_C = 3 };

struct top {
    struct str server;
    usec_t interval;
    bool is_json, is_once;
    bool is_page; /* on a terminal */
    bool has_color;
    int signal_fd;
    struct termios saved;
    struct top_sample last; /* as it was read */
    struct buf out;
};

/* ---- asking ---- */

/* Twice the same: one to show differences in, one to remember. */
static enum err read_twice(struct top *t, struct str body, struct top_sample *ret_first,
                           struct top_sample *ret_second)
{
    enum err e = top_sample_parse(body, ret_first);
    if (e == E_OK) {
        e = top_sample_parse(body, ret_second);
        if (e != E_OK) {
            top_sample_fini(ret_first);
        }
    }
    if (e != E_OK) {
        out_complain("%.*s: the answer cannot be understood: %s", STR_ARG(t->server), err_text(e));
    }
    return e;
}

static enum err take_samples(struct top *t, struct top_sample *ret_first,
                             struct top_sample *ret_second)
{
    struct ask_answer answer;
    enum err e = ask_view(&answer, t->server, STR("/debug/top"));
    if (e == E_OK) {
        e = read_twice(t, answer.body, ret_first, ret_second);
    }
    ask_fini(&answer);
    return e;
}

/* ---- showing ---- */

static void window_size(size_t *ret_columns, size_t *ret_rows)
{
    struct winsize size;
    *ret_columns = COLUMNS_DEFAULT;
    *ret_rows = 0;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 && size.ws_row > 0) {
        *ret_columns = size.ws_col < COLUMNS_MAX ? size.ws_col : COLUMNS_MAX;
        *ret_rows = size.ws_row;
    }
}

/* Over the old page, line by line, so that nothing flickers. */
static void add_page(struct top *t, struct str text)
{
    struct str line;
    buf_add_str(&t->out, STR("\033[H"));
    while (text.n > 0) {
        (void)str_cut(text, '\n', &line, &text); /* each has its end */
        buf_add_str(&t->out, line);
        buf_add_str(&t->out, text.n > 0 ? STR("\033[K\r\n") : STR("\033[K"));
    }
    buf_add_str(&t->out, STR("\033[J"));
}

static enum err show(struct top *t, const struct top_view *v)
{
    size_t columns, rows;
    buf_reset(&t->out);
    if (t->is_json) {
        top_view_json(&t->out, v);
    } else if (t->is_page) {
        struct buf text;
        buf_init(&text, CLI_OUT_BYTES_MAX);
        window_size(&columns, &rows);
        top_view_text(&text, v, columns, rows, t->has_color);
        add_page(t, buf_str(&text));
        t->out.bad = t->out.bad || text.bad;
        buf_fini(&text);
    } else {
        window_size(&columns, &rows);
        top_view_text(&t->out, v, columns, 0, t->has_color);
        buf_add_str(&t->out, t->is_once ? STR_EMPTY : STR("\n"));
    }
    return t->out.bad ? E_NOMEM : out_write(STDOUT_FILENO, buf_str(&t->out));
}

static enum err show_since(struct top *t, struct top_sample *now)
{
    uint64_t *totals = mem_calloc(now->reason_n + 1, sizeof(*totals));
    if (totals == NULL) {
        return E_NOMEM;
    }
    usec_t interval = top_sample_since(now, &t->last, totals);
    const struct top_view v = {t->server, now, totals, interval > 0 ? interval : 1};
    enum err e = show(t, &v);
    mem_free(totals);
    return e;
}

/* Asks; shows what came since the last time, if there was one. */
static enum err step(struct top *t)
{
    struct top_sample now, raw;
    bool is_first = t->last.bounds.n == 0;
    TRY(take_samples(t, &now, &raw));
    enum err e = is_first ? E_OK : show_since(t, &now);
    top_sample_fini(&now);
    top_sample_fini(&t->last);
    t->last = raw;
    return e;
}

/* ---- waiting ---- */

static bool is_end_key(char c)
{
    return c == 'q' || c == 'Q' || c == KEY_CTRL_C;
}

/* True when one of the keys that wait says: end. */
static bool read_keys(struct pollfd *input)
{
    char keys[64];
    ssize_t n = read(input->fd, keys, sizeof(keys));
    for (ssize_t i = 0; i < n; i++) {
        if (is_end_key(keys[i])) {
            return true;
        }
    }
    if (n <= 0) {
        input->fd = -1; /* nobody is there: do not look again */
    }
    return false;
}

/* False when it is time to end. A new window size ends the wait, so that the page fits at once. */
static bool wait_for_interval(struct top *t)
{
    struct pollfd fds[] = {
        {.fd = t->signal_fd,                   .events = POLLIN},
        {.fd = t->is_page ? STDIN_FILENO : -1, .events = POLLIN},
    };
    usec_t end = clock_monotonic() + t->interval;
    for (usec_t now = end - t->interval; now < end; now = clock_monotonic()) {
        struct signalfd_siginfo info;
        if (poll(fds, 2, (int)((end - now + USEC_PER_MS - 1) / USEC_PER_MS)) <= 0) {
            continue;
        }
        if (fds[0].revents != 0) {
            bool is_size = read(t->signal_fd, &info, sizeof(info)) == sizeof(info) &&
                           info.ssi_signo == SIGWINCH;
            return is_size;
        }
        if (fds[1].revents != 0 && read_keys(&fds[1])) {
            return false;
        }
    }
    return true;
}

/* ---- the terminal ---- */

static enum err signals_open(struct top *t)
{
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGHUP);
    (void)sigaddset(&set, SIGWINCH); /* a valid set and valid signals: none of these can fail */
    (void)signal(SIGPIPE, SIG_IGN);  /* as above; then writing says so */
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0) {
        return E_SYS;
    }
    t->signal_fd = signalfd(-1, &set, SFD_CLOEXEC);
    return t->signal_fd < 0 ? E_SYS : E_OK;
}

/* Keys come one by one and unseen; the page has a screen of its own, without a cursor. */
static void page_open(struct top *t)
{
    struct termios raw;
    if (tcgetattr(STDIN_FILENO, &t->saved) != 0) {
        t->is_page = false;
        return;
    }
    raw = t->saved;
    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO | ISIG);
    raw.c_cc[VMIN] = 0;
    raw.c_cc[VTIME] = 0;
    (void)tcsetattr(STDIN_FILENO, TCSANOW, &raw); /* without it keys need a line end */
    (void)out_write(STDOUT_FILENO, STR("\033[?1049h\033[?25l\033[H\033[2Jasking ..."));
}

static void page_close(struct top *t)
{
    if (t->is_page) {
        (void)out_write(STDOUT_FILENO, STR("\033[?25h\033[?1049l")); /* going away */
        (void)tcsetattr(STDIN_FILENO, TCSANOW, &t->saved);           /* as above */
    }
}

/* ---- the command ---- */

static enum err run_once(struct top *t)
{
    TRY(step(t));
    if (!wait_for_interval(t)) {
        return E_CLOSED;
    }
    return step(t);
}

/* Until the user ends it, which is no error. One that goes away for a while (the controller is
 * started anew, say) is asked again; one that was never there is an error. */
static enum err run_live(struct top *t)
{
    TRY(step(t));
    while (wait_for_interval(t)) {
        enum err e = step(t);
        if (e == E_SYS && !t->is_page) {
            return e; /* nobody reads us any more, or nobody answers */
        }
    }
    return E_OK;
}

static int run(struct top *t)
{
    if (signals_open(t) != E_OK) {
        out_complain("cannot wait for signals");
        return EXIT_BAD;
    }
    if (t->is_page) {
        page_open(t);
    }
    enum err e = t->is_once ? run_once(t) : run_live(t);
    page_close(t);
    (void)close(t->signal_fd); /* only read */
    return e == E_OK ? EXIT_WELL : EXIT_BAD;
}

int command_top(const struct cli_args *a)
{
    struct str server = cli_text(a, CLI_OPT_server);
    struct top t = {
        .server = server.n > 0 ? server : STR("127.0.0.1:10254"),
        .interval = cli_number(a, CLI_OPT_interval),
        .is_json = cli_number(a, CLI_OPT_output) == 1,
        .is_once = cli_flag(a, CLI_OPT_once),
        .has_color = out_has_color(STDOUT_FILENO),
    };
    t.is_page = !t.is_json && !t.is_once && isatty(STDIN_FILENO) == 1 && isatty(STDOUT_FILENO) == 1;
    buf_init(&t.out, CLI_OUT_BYTES_MAX);
    int status = run(&t);
    top_sample_fini(&t.last);
    buf_fini(&t.out);
    return status;
}
