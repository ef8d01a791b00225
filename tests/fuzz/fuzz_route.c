/* A configuration and a request from lines of text; the matcher and the naive matcher agree.
 *   host, path, method, value of header x, query     the first five lines
 *   H pattern   F pattern   a host; F: does not fall through
 *   D                       it has a default route
 *   E path      P path      an exact path, a prefix; M, X: the same with a condition on the method
 *                           "GET", on header x being "1" */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../lib/route_naive.h"
#include "../lib/snapshot_make.h"
#include "base/mem.h"

enum { LINES = 64, LINE_MAX_BYTES = 128, REQUEST_LINES = 5 };

struct config {
    size_t host_n;
    uint32_t rule_n;
    struct make_host hosts[LINES];
    struct make_rule rules[LINES];
};

static bool is_name(const char *p)
{
    struct str s = str_from_cstr(p);
    if (s.n == 0) {
        return true;
    }
    s = str_from(s, str_has_prefix(s, STR("**.")) ? 3 : str_has_prefix(s, STR("*.")) ? 2 : 0);
    for (size_t i = 0; i < s.n; i++) {
        bool is_dot = s.p[i] == '.';
        if (is_dot && (i == 0 || i + 1 == s.n || s.p[i - 1] == '.')) {
            return false;
        }
        if (!is_dot && (s.p[i] < 'a' || s.p[i] > 'z')) {
            return false;
        }
    }
    return s.n > 0;
}

static void add_host(struct config *c, const char *pattern, bool is_final)
{
    for (size_t i = 0; i < c->host_n; i++) {
        if (strcmp(c->hosts[i].pattern, pattern) == 0) {
            return;
        }
    }
    if (is_name(pattern)) {
        c->hosts[c->host_n++] = (struct make_host){pattern, &c->rules[c->rule_n], 0, 0, is_final};
    }
}

static void add_rule(struct config *c, char kind, const char *path)
{
    struct make_rule *r = &c->rules[c->rule_n];
    if (c->host_n == 0 || path[0] != '/') {
        return;
    }
    *r = (struct make_rule){path, kind == 'E', c->rule_n + 1, 0, {{0}}};
    if (kind == 'M') {
        r->conditions[r->condition_n++] = (struct make_condition){SNAP_IF_METHOD, "", "GET"};
    }
    if (kind == 'X') {
        r->conditions[r->condition_n++] = (struct make_condition){SNAP_IF_HEADER, "x", "1"};
    }
    c->rule_n++;
    c->hosts[c->host_n - 1].rule_n++;
}

static void add_line(struct config *c, const char *line)
{
    const char *rest = line[0] == '\0' || line[1] == '\0' ? "" : line + 2;
    switch (line[0]) {
    case 'H':
    case 'F':
        add_host(c, rest, line[0] == 'F');
        break;
    case 'D':
        if (c->host_n > 0) {
            c->hosts[c->host_n - 1].default_id = 1000 + (uint32_t)c->host_n;
        }
        break;
    case 'E':
    case 'P':
    case 'M':
    case 'X':
        add_rule(c, line[0], rest);
        break;
    default:
        break;
    }
}

static bool find_field(const void *arg, struct str name, struct str *ret_value)
{
    *ret_value = str_from_cstr(arg);
    return str_eq(name, STR("x"));
}

static void compare(const struct config *c, const struct snapshot *s, char lines[][LINE_MAX_BYTES])
{
    struct route_query q = {.table = STR("t"),
                            .host = str_from_cstr(lines[0]),
                            .path = str_from_cstr(lines[1]),
                            .method = str_from_cstr(lines[2]),
                            .query = str_from_cstr(lines[4]),
                            .field = find_field,
                            .field_arg = lines[3]};
    struct route_match m;
    bool is_default = false;
    uint32_t want = naive_match(c->hosts, c->host_n, &q, &is_default);
    route_match(s, &q, &m);
    must((m.route == NULL ? 0 : m.route->rule) == want);
    must(m.is_default == is_default);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static char lines[LINES][LINE_MAX_BYTES];
    static struct make_set set;
    struct config c = {0};
    struct str rest = str_make((const char *)data, n), line;
    memset(lines, 0, sizeof(lines));
    for (size_t i = 0; i < LINES; i++) {
        (void)str_cut(rest, '\n', &line, &rest);
        mem_copy(lines[i], line.p, line.n < LINE_MAX_BYTES ? line.n : LINE_MAX_BYTES - 1);
        if (i >= REQUEST_LINES) {
            add_line(&c, lines[i]);
        }
    }
    for (size_t i = 0; i < c.host_n; i++) {
        must(make_host(make_next(&set), "t", &c.hosts[i]) == E_OK);
    }
    struct buf bytes;
    struct snapshot_fault fault = {0};
    struct snapshot s;
    buf_init(&bytes, 1 << 20);
    snapshot_init(&s);
    must(make_segment(&set, &bytes, 0, 1) == E_OK);
    make_clear(&set);
    struct snapshot_segment *segment = make_open(bytes.p, bytes.n, &fault);
    must(segment != NULL && snapshot_apply(&s, segment, NULL, NULL) == E_OK);
    compare(&c, &s, lines);
    snapshot_fini(&s);
    snapshot_segment_unref(segment);
    buf_fini(&bytes);
    return 0;
}
