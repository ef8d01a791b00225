/* Field lines of an HTTP/1 head, and the rules for the fields that frame a message. The rules are a
 * table by field name; what they find is gathered in struct h1_facts and judged when all lines are
 * there. */
#include "wire/http1_priv.h"

typedef enum h1_fault rule_fn(struct h1_facts *facts, struct str value);

static enum h1_fault on_host(struct h1_facts *facts, struct str value)
{
    facts->host_n++; /* judged for requests only */
    facts->host = value;
    return H1_FAULT_NONE;
}

static enum h1_fault on_content_length(struct h1_facts *facts, struct str value)
{
    /* RFC 9110 section 8.6: a list or a repetition may be refused even if all values are the same
     */
    if (facts->has_length || !str_to_u64(value, INT64_MAX, &facts->length)) {
        return H1_FAULT_LENGTH;
    }
    facts->has_length = true;
    return H1_FAULT_NONE;
}

static enum h1_fault on_transfer_encoding(struct h1_facts *facts, struct str value)
{
    /* RFC 9112 section 6.1: other codings are optional (501), chunked may be applied only once */
    if (facts->has_chunked || !str_eq_nocase(value, STR("chunked"))) {
        return H1_FAULT_TE;
    }
    facts->has_chunked = true;
    return H1_FAULT_NONE;
}

static enum h1_fault on_connection(struct h1_facts *facts, struct str value)
{
    struct str option;
    for (bool has_more = true; has_more;) { /* RFC 9110 section 7.6.1: a list, any case */
        has_more = str_cut(value, ',', &option, &value);
        option = str_trim(option);
        facts->says_close |= str_eq_nocase(option, STR("close"));
        facts->says_keep_alive |= str_eq_nocase(option, STR("keep-alive"));
        facts->says_upgrade |= str_eq_nocase(option, STR("upgrade"));
    }
    return H1_FAULT_NONE;
}

static enum h1_fault on_upgrade(struct h1_facts *facts, struct str value)
{
    facts->has_upgrade |= value.n > 0;
    return H1_FAULT_NONE;
}

static enum h1_fault on_expect(struct h1_facts *facts, struct str value)
{
    bool is_continue = str_eq_nocase(value, STR("100-continue")); /* RFC 9110 section 10.1.1 */
    facts->has_continue |= is_continue;
    facts->has_other_expectation |= !is_continue;
    return H1_FAULT_NONE;
}

static rule_fn *const rules[FIELD_NAMES_N] = {
    [FIELD_host] = on_host,
    [FIELD_content_length] = on_content_length,
    [FIELD_transfer_encoding] = on_transfer_encoding,
    [FIELD_connection] = on_connection,
    [FIELD_upgrade] = on_upgrade,
    [FIELD_expect] = on_expect,
};

static enum h1_fault name_fault(const char *start, const char *at)
{
    /* RFC 9112 section 5.2: folded lines are refused; section 2.2: and so is a blank before the
     * first field line */
    return h1_is_blank(*start) ? H1_FAULT_FOLDED : h1_fault_at(at, H1_FAULT_FIELD_NAME);
}

/* One line from *p, which is moved behind it. */
static enum h1_fault line_parse(const char **p, const char *end, struct field *f)
{
    const char *start = *p, *at = start;
    while (h1_is(*at, H1_TOKEN)) {
        at++;
    }
    if (at == start || *at != ':') { /* RFC 9112 section 5.1: no blank before the colon */
        return name_fault(start, at);
    }
    f->name = (struct str){start, (size_t)(at - start)};
    do {
        at++;
    } while (h1_is_blank(*at));
    const char *stop = h1_text_end(at, end);
    if (stop[0] != '\r' || stop[1] != '\n') { /* RFC 9110 section 5.5 */
        return h1_fault_at(stop, H1_FAULT_FIELD_VALUE);
    }
    *p = stop + 2;
    f->line_n = (uint32_t)(*p - start);
    while (stop > at && h1_is_blank(stop[-1])) {
        stop--;
    }
    f->value = (struct str){at, (size_t)(stop - at)};
    f->id = field_name_id(f->name);
    return H1_FAULT_NONE;
}

enum h1_fault h1_fields_parse(const char *p, const char *end, struct field *fields,
                              uint32_t field_max, struct h1_facts *facts)
{
    while (p[0] != '\r' || p[1] != '\n') {
        if (facts->field_n == field_max) {
            return H1_FAULT_TOO_MANY_FIELDS;
        }
        struct field *f = &fields[facts->field_n];
        enum h1_fault fault = line_parse(&p, end, f);
        if (fault == H1_FAULT_NONE && rules[f->id] != NULL) {
            fault = rules[f->id](facts, f->value);
        }
        if (fault != H1_FAULT_NONE) {
            return fault;
        }
        facts->field_n++;
    }
    return p + 2 == end ? H1_FAULT_NONE : H1_FAULT_FIELD_NAME; /* an empty line before the end */
}

enum h1_fault h1_facts_check(const struct h1_facts *facts, uint8_t minor)
{
    if (facts->has_chunked && facts->has_length) {
        return H1_FAULT_TE_AND_LENGTH; /* RFC 9112 section 6.1: ought to be handled as an error */
    }
    /* RFC 9112 section 6.1: with HTTP/1.0 the framing is faulty */
    return facts->has_chunked && minor == 0 ? H1_FAULT_TE : H1_FAULT_NONE;
}

bool h1_facts_keep_alive(const struct h1_facts *facts, uint8_t minor)
{
    /* RFC 9112 section 9.3 */
    return !facts->says_close && (minor == 1 || facts->says_keep_alive);
}

bool h1_list_has(struct str value, struct str token)
{
    struct str item;
    for (bool has_more = true; has_more;) { /* RFC 9110 section 5.6.1: empty items are skipped */
        has_more = str_cut(value, ',', &item, &value);
        item = str_trim(item);
        if (item.n > 0 && str_eq_nocase(item, token)) {
            return true;
        }
    }
    return false;
}
