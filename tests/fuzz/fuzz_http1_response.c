/* A response head: what is accepted lies inside the input and has one reading; HEAD takes away the
 * body and nothing else. */
#include "base/err.h"
#include "wire/http1.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { FIELDS = 32 };

static bool is_inside(struct str s, const char *p, size_t n)
{
    return s.p >= p && s.n <= n && s.p - p <= (ptrdiff_t)(n - s.n);
}

static void check_head(const char *p, size_t n, const struct h1_response *r)
{
    struct field fields[FIELDS];
    struct h1_response head;
    enum h1_fault fault = H1_FAULT_NONE;
    must(h1_response_parse(p, n, true, fields, FIELDS, &head, &fault) == E_OK);
    must(head.status == r->status && head.field_n == r->field_n && head.minor == r->minor);
    must(head.body == H1_BODY_NONE && head.body_n == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const char *p = (const char *)data;
    struct field fields[FIELDS];
    struct h1_response r;
    enum h1_fault fault = H1_FAULTS_N;
    if (h1_response_parse(p, n, false, fields, FIELDS, &r, &fault) != E_OK) {
        must(fault > H1_FAULT_NONE && fault < H1_FAULTS_N);
        return 0;
    }
    must(fault == H1_FAULTS_N && r.field_n <= FIELDS);
    must(r.status >= 100 && r.status <= 599 && r.minor <= 1);
    must(is_inside(r.reason, p, n));
    must(r.body != H1_BODY_UNTIL_CLOSE || !r.is_keep_alive);
    for (uint32_t i = 0; i < r.field_n; i++) {
        must(is_inside(fields[i].name, p, n) && is_inside(fields[i].value, p, n));
        must(is_inside((struct str){fields[i].name.p, fields[i].line_n}, p, n));
    }
    check_head(p, n, &r);
    struct h1_scan scan = {0};
    size_t head_n = 0;
    must(h1_head_scan(&scan, p, n, &head_n) == E_OK && head_n == n);
    return 0;
}
