/* A request head: scanning in two pieces equals scanning whole; whatever is accepted lies inside
 * the input, has one reading, and its host and target are taken by the functions behind. */
#include "base/err.h"
#include "wire/http1.h"
#include "wire/uri.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { FIELDS = 32, HOST_MAX = 512 };

static bool is_inside(struct str s, const char *p, size_t n)
{
    return s.p >= p && s.n <= n && s.p - p <= (ptrdiff_t)(n - s.n);
}

static void check_scan(const char *p, size_t n)
{
    struct h1_scan whole = {0}, split = {0};
    size_t whole_n = 0, split_n = 0;
    enum err e = h1_head_scan(&whole, p, n, &whole_n);
    enum err e2 = h1_head_scan(&split, p, n / 2, &split_n);
    if (e2 == E_AGAIN) {
        e2 = h1_head_scan(&split, p, n, &split_n);
    }
    must(e == e2 && whole_n == split_n);
    must(e == E_PROTO || whole.line_n == split.line_n);
    must(e != E_OK || (whole_n <= n && whole_n >= 4));
}

static void check_fields(const struct field *fields, uint32_t field_n, const char *p, size_t n)
{
    const char *at = p;
    for (uint32_t i = 0; i < field_n; i++) {
        const struct field *f = &fields[i];
        must(f->name.p >= at && f->name.n > 0 && is_inside(f->name, p, n));
        must(is_inside(f->value, p, n));
        must(f->id == field_name_id(f->name));
        at = f->name.p + f->line_n;
        must(at <= p + n && at[-1] == '\n' && at[-2] == '\r');
        must(f->value.p + f->value.n <= at - 2);
    }
}

static void check_host(struct str host)
{
    char out[HOST_MAX];
    struct str name;
    uint16_t port;
    must(host.n == 0 || host.n > HOST_MAX || host_parse(host, out, &name, &port) == E_OK);
}

static void check_request(const struct h1_request *r, const char *p, size_t n)
{
    must(is_inside(r->method, p, n) && r->method.n > 0);
    must(is_inside(r->target, p, n) && r->target.n > 0);
    must(r->host.n == 0 || is_inside(r->host, p, n));
    must(r->minor <= 1 && (r->body == H1_BODY_LENGTH || r->body_n == 0));
    must(r->body != H1_BODY_UNTIL_CLOSE && (r->body != H1_BODY_CHUNKED || r->minor == 1));
    check_host(r->host);
    struct str authority, path, query;
    must(uri_split(r->target, &authority, &path, &query) == E_OK ||
         str_eq(r->method, STR("CONNECT")));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const char *p = (const char *)data;
    struct field fields[FIELDS];
    struct h1_request r;
    enum h1_fault fault = H1_FAULTS_N;
    check_scan(p, n);
    if (h1_request_parse(p, n, fields, FIELDS, &r, &fault) != E_OK) {
        must(fault > H1_FAULT_NONE && fault < H1_FAULTS_N);
        return 0;
    }
    must(fault == H1_FAULTS_N && r.field_n <= FIELDS);
    check_request(&r, p, n);
    check_fields(fields, r.field_n, p, n);
    /* What parses is what the scanner calls a whole head. */
    struct h1_scan scan = {0};
    size_t head_n = 0;
    must(h1_head_scan(&scan, p, n, &head_n) == E_OK && head_n == n && scan.line_n >= r.field_n);
    return 0;
}
