/* HTTP/1 request heads: the request line, and what a request's fields mean together. */
#include "base/limits.h"
#include "wire/http1_priv.h"
#include "wire/uri.h"

/* RFC 9112 section 2.3: some version, whether we speak it or not. */
static bool is_version(const char *p)
{
    return str_eq(str_make(p, 5), STR("HTTP/")) && p[5] >= '0' && p[5] <= '9' && p[6] == '.' &&
           p[7] >= '0' && p[7] <= '9';
}

/* RFC 9112 section 3: method SP request-target SP HTTP-version, one SP each. *p is moved behind the
 * line. */
static enum h1_fault line_parse(const char **p, const char *end, struct h1_request *r)
{
    const char *start = *p, *at = start;
    while (h1_is(*at, H1_TOKEN)) {
        at++;
    }
    if (at == start || *at != ' ') {
        return h1_fault_at(at, H1_FAULT_METHOD);
    }
    r->method = (struct str){start, (size_t)(at - start)};
    start = ++at;
    while (h1_is(*at, H1_TARGET)) {
        at++;
    }
    if (at == start || *at != ' ') {
        return h1_fault_at(at, H1_FAULT_TARGET);
    }
    r->target = (struct str){start, (size_t)(at - start)};
    if (r->target.n > TARGET_BYTES_MAX) { /* RFC 9112 section 3: 414 */
        return H1_FAULT_TARGET_LONG;
    }
    at++;
    if (end - at < 10 || at[8] != '\r' || at[9] != '\n') {
        return end - at < 10 ? H1_FAULT_LINE : h1_fault_at(at + 8, H1_FAULT_LINE);
    }
    *p = at + 10;
    if (h1_version_parse(at, &r->minor)) {
        return H1_FAULT_NONE;
    }
    return is_version(at) ? H1_FAULT_VERSION : H1_FAULT_LINE;
}

/* A CONNECT target: RFC 9112 section 3.2.3: host and port, nothing else. */
static bool is_authority_form(struct str target)
{
    return host_is_valid(target) && target.p[target.n - 1] >= '0' &&
           target.p[target.n - 1] <= '9' && str_find(target, ':') < target.n;
}

/* Gives the authority of the target, empty when it has none. */
static enum h1_fault target_check(const struct h1_request *r, struct str *ret_authority)
{
    struct str path, query;
    *ret_authority = (struct str){r->target.p, 0};
    if (str_eq(r->method, STR("CONNECT"))) {
        *ret_authority = r->target;
        return is_authority_form(r->target) ? H1_FAULT_NONE : H1_FAULT_TARGET;
    }
    if (r->target.p[0] == '/') { /* RFC 9112 section 3.2.1 */
        return H1_FAULT_NONE;
    }
    if (uri_split(r->target, ret_authority, &path, &query) != E_OK) {
        return H1_FAULT_TARGET;
    }
    /* RFC 9112 section 3.2.4: asterisk-form is for OPTIONS only */
    if (r->target.p[0] == '*' && !str_eq(r->method, STR("OPTIONS"))) {
        return H1_FAULT_TARGET;
    }
    return H1_FAULT_NONE;
}

/* RFC 9112 section 3.2: missing in HTTP/1.1, repeated or invalid: 400. It may be empty (RFC 9110
 * section 7.2: when the target has no authority). */
static bool is_host_right(const struct h1_request *r, const struct h1_facts *facts)
{
    if (facts->host_n != 1) {
        return facts->host_n == 0 && r->minor == 0;
    }
    return facts->host.n == 0 || host_is_valid(facts->host);
}

static enum h1_fault host_choose(struct h1_request *r, const struct h1_facts *facts)
{
    struct str authority;
    enum h1_fault fault = target_check(r, &authority);
    if (fault != H1_FAULT_NONE) {
        return fault;
    }
    if (!is_host_right(r, facts)) {
        return H1_FAULT_HOST;
    }
    /* RFC 9112 section 3.2.2: with an absolute target the Host field is ignored */
    r->host = authority.n > 0 || facts->host_n == 0 ? authority : facts->host;
    return H1_FAULT_NONE;
}

/* RFC 9112 section 6.3, the rules for requests. */
static void body_choose(struct h1_request *r, const struct h1_facts *facts)
{
    r->body = H1_BODY_NONE;
    r->body_n = 0;
    if (facts->has_chunked) {
        r->body = H1_BODY_CHUNKED;
    } else if (facts->has_length) {
        r->body = H1_BODY_LENGTH;
        r->body_n = facts->length;
    }
}

static enum h1_fault facts_apply(struct h1_request *r, const struct h1_facts *facts)
{
    enum h1_fault fault = h1_facts_check(facts, r->minor);
    if (fault == H1_FAULT_NONE) {
        fault = host_choose(r, facts);
    }
    if (fault != H1_FAULT_NONE) {
        return fault;
    }
    body_choose(r, facts);
    r->field_n = facts->field_n;
    r->is_keep_alive = h1_facts_keep_alive(facts, r->minor);
    /* RFC 9110 sections 7.8 and 10.1.1: both are ignored in HTTP/1.0 */
    r->has_upgrade = facts->says_upgrade && facts->has_upgrade && r->minor == 1;
    r->expects_continue = facts->has_continue && r->minor == 1;
    r->expects_other = facts->has_other_expectation && r->minor == 1;
    return H1_FAULT_NONE;
}

static enum h1_fault request_parse(const char *p, size_t n, struct field *fields,
                                   uint32_t field_max, struct h1_request *r)
{
    const char *end = p + n;
    if (!h1_has_end(p, n)) {
        return H1_FAULT_LINE_END;
    }
    if (n >= 6 && p[0] == '\r' && p[1] == '\n') { /* RFC 9112 section 2.2, see h1_head_scan() */
        p += 2;
    }
    struct h1_facts facts = {0};
    enum h1_fault fault = line_parse(&p, end, r);
    if (fault == H1_FAULT_NONE) {
        fault = h1_fields_parse(p, end, fields, field_max, &facts);
    }
    return fault == H1_FAULT_NONE ? facts_apply(r, &facts) : fault;
}

enum err h1_request_parse(const char *p, size_t n, struct field *fields, uint32_t field_max,
                          struct h1_request *ret, enum h1_fault *ret_fault)
{
    struct h1_request r;
    enum h1_fault fault = request_parse(p, n, fields, field_max, &r);
    if (fault != H1_FAULT_NONE) {
        *ret_fault = fault;
        return E_PROTO;
    }
    *ret = r;
    return E_OK;
}
