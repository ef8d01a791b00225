/* HTTP/1 response heads: the status line, and how long the body is. */
#include "wire/http1_priv.h"

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* RFC 9112 section 4: HTTP-version SP 3DIGIT SP [reason]; the last SP is often forgotten when there
 * is no reason, and nothing hangs on it. *p is moved behind the line. */
static enum h1_fault line_parse(const char **p, const char *end, struct h1_response *r)
{
    const char *at = *p;
    if (end - at < 14 || !h1_version_parse(at, &r->minor)) {
        return H1_FAULT_VERSION;
    }
    if (at[8] != ' ' || at[9] < '1' || at[9] > '5' || !is_digit(at[10]) || !is_digit(at[11])) {
        return H1_FAULT_STATUS;
    }
    r->status = (uint16_t)((at[9] - '0') * 100 + (at[10] - '0') * 10 + (at[11] - '0'));
    at += 12;
    if (*at != ' ' && *at != '\r') {
        return h1_fault_at(at, H1_FAULT_STATUS);
    }
    const char *reason = *at == ' ' ? at + 1 : at;
    const char *stop = h1_text_end(reason, end);
    if (stop[0] != '\r' || stop[1] != '\n') {
        return h1_fault_at(stop, H1_FAULT_STATUS);
    }
    r->reason = (struct str){reason, (size_t)(stop - reason)};
    *p = stop + 2;
    return H1_FAULT_NONE;
}

/* RFC 9112 section 6.3, the rules for responses, in their order. */
static void body_choose(struct h1_response *r, const struct h1_facts *facts, bool is_head)
{
    r->body_n = 0;
    if (is_head || r->status < 200 || r->status == 204 || r->status == 304) {
        r->body = H1_BODY_NONE;
    } else if (facts->has_chunked) {
        r->body = H1_BODY_CHUNKED;
    } else if (facts->has_length) {
        r->body = H1_BODY_LENGTH;
        r->body_n = facts->length;
    } else {
        r->body = H1_BODY_UNTIL_CLOSE;
    }
}

static enum h1_fault response_parse(const char *p, size_t n, bool is_head, struct field *fields,
                                    uint32_t field_max, struct h1_response *r)
{
    const char *end = p + n;
    if (!h1_has_end(p, n)) {
        return H1_FAULT_LINE_END;
    }
    struct h1_facts facts = {0};
    enum h1_fault fault = line_parse(&p, end, r);
    if (fault == H1_FAULT_NONE) {
        fault = h1_fields_parse(p, end, fields, field_max, &facts);
    }
    if (fault == H1_FAULT_NONE) {
        fault = h1_facts_check(&facts, r->minor);
    }
    if (fault != H1_FAULT_NONE) {
        return fault;
    }
    body_choose(r, &facts, is_head);
    r->field_n = facts.field_n;
    r->is_keep_alive = r->body != H1_BODY_UNTIL_CLOSE && h1_facts_keep_alive(&facts, r->minor);
    return H1_FAULT_NONE;
}

enum err h1_response_parse(const char *p, size_t n, bool is_head, struct field *fields,
                           uint32_t field_max, struct h1_response *ret, enum h1_fault *ret_fault)
{
    struct h1_response r;
    enum h1_fault fault = response_parse(p, n, is_head, fields, field_max, &r);
    if (fault != H1_FAULT_NONE) {
        *ret_fault = fault;
        return E_PROTO;
    }
    *ret = r;
    return E_OK;
}
