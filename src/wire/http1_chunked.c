/* The chunked coding, RFC 9112 section 7.1, decoded in place: runs of data are handed out as they
 * lie in the input, everything else is looked at byte by byte. Line ends are CRLF only. */
#include "base/limits.h"
#include "wire/http1_priv.h"

enum { SIZE_DIGITS_MAX = 16 };

/* Where in a size line behind the digits, or in the trailer section. */
enum place { AT_START, IN_BLANKS, IN_EXTENSION, IN_NAME, IN_VALUE, AT_LF, AT_LAST_LF };

static int hex_value(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c = ascii_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool size_step(struct h1_chunked *c, char byte)
{
    int digit = hex_value(byte);
    if (digit >= 0) {
        c->left = c->left << 4 | (uint64_t)digit;
        /* RFC 9112 section 7.1: recipients guard against overflow: 64 bits hold 16 digits */
        return ++c->digit_n <= SIZE_DIGITS_MAX;
    }
    if (c->digit_n == 0) {
        return false;
    }
    if (byte == '\r') {
        c->state = H1_CHUNK_SIZE_LF;
        return true;
    }
    c->state = H1_CHUNK_EXT;
    c->place = byte == ';' ? IN_EXTENSION : IN_BLANKS;
    return byte == ';' || h1_is_blank(byte);
}

/* RFC 9112 section 7.1.1: unknown extensions are ignored; blanks may stand before the ';' only. */
static bool extension_step(struct h1_chunked *c, char byte)
{
    if (byte == '\r') {
        c->state = H1_CHUNK_SIZE_LF;
        return c->place == IN_EXTENSION;
    }
    if (c->place == IN_BLANKS) {
        c->place = byte == ';' ? IN_EXTENSION : IN_BLANKS;
        return byte == ';' || h1_is_blank(byte);
    }
    return h1_is_text(byte);
}

static bool size_lf_step(struct h1_chunked *c, char byte)
{
    c->state = c->left > 0 ? H1_CHUNK_DATA : H1_CHUNK_TRAILER;
    c->line_n = 0;
    c->digit_n = 0;
    c->place = AT_START;
    return byte == '\n';
}

static bool data_end_step(struct h1_chunked *c, char byte)
{
    bool is_cr = c->state == H1_CHUNK_DATA_CR;
    c->state = is_cr ? H1_CHUNK_DATA_LF : H1_CHUNK_SIZE;
    return byte == (is_cr ? '\r' : '\n');
}

/* The place after byte in the trailer section; AT_START + false on a byte that must not be there.
 */
static bool trailer_step(struct h1_chunked *c, char byte)
{
    switch ((enum place)c->place) {
    case AT_START: /* RFC 9112 section 5.2: no folded line here either */
        c->place = byte == '\r' ? AT_LAST_LF : IN_NAME;
        return byte == '\r' || h1_is(byte, H1_TOKEN);
    case IN_NAME:
        c->place = byte == ':' ? IN_VALUE : IN_NAME;
        return byte == ':' || h1_is(byte, H1_TOKEN);
    case IN_VALUE:
        c->place = byte == '\r' ? AT_LF : IN_VALUE;
        return byte == '\r' || h1_is_text(byte);
    case AT_LF:
        c->place = AT_START;
        return byte == '\n';
    case AT_LAST_LF:
        c->state = H1_CHUNK_DONE;
        return byte == '\n';
    case IN_BLANKS:
    case IN_EXTENSION:
        break;
    }
    return false;
}

/* One byte that is not data. */
static enum h1_fault step(struct h1_chunked *c, char byte)
{
    bool is_good = false;
    c->line_n++;
    switch (c->state) {
    case H1_CHUNK_SIZE:
        is_good = size_step(c, byte) && c->line_n <= CHUNK_LINE_BYTES_MAX;
        break;
    case H1_CHUNK_EXT:
        is_good = extension_step(c, byte) && c->line_n <= CHUNK_LINE_BYTES_MAX;
        break;
    case H1_CHUNK_SIZE_LF:
        is_good = c->line_n <= CHUNK_LINE_BYTES_MAX && size_lf_step(c, byte);
        break;
    case H1_CHUNK_DATA_CR:
    case H1_CHUNK_DATA_LF:
        c->line_n = 0;
        is_good = data_end_step(c, byte);
        break;
    case H1_CHUNK_TRAILER:
        return c->line_n <= TRAILER_BYTES_MAX && trailer_step(c, byte) ? H1_FAULT_NONE
                                                                       : H1_FAULT_TRAILER;
    case H1_CHUNK_DATA:
    case H1_CHUNK_DONE:
        break;
    }
    return is_good ? H1_FAULT_NONE : H1_FAULT_CHUNK;
}

static struct str data_take(struct h1_chunked *c, struct str *p)
{
    struct str data = str_first(*p, c->left < p->n ? (size_t)c->left : p->n);
    *p = str_from(*p, data.n);
    c->left -= data.n;
    if (c->left == 0) {
        c->state = H1_CHUNK_DATA_CR;
    }
    return data;
}

enum err h1_chunked_next(struct h1_chunked *c, struct str *p, struct str *ret_data,
                         enum h1_fault *ret_fault)
{
    while (c->state != H1_CHUNK_DONE) {
        if (p->n == 0) {
            return E_AGAIN;
        }
        if (c->state == H1_CHUNK_DATA) {
            *ret_data = data_take(c, p);
            return E_OK;
        }
        enum h1_fault fault = step(c, p->p[0]);
        if (fault != H1_FAULT_NONE) {
            *ret_fault = fault;
            return E_PROTO;
        }
        *p = str_from(*p, 1);
    }
    *ret_data = (struct str){p->p, 0};
    return E_OK;
}

struct str h1_chunked_trailers(const struct h1_chunked *c, const char *start, const char *behind)
{
    bool is_whole = c->state == H1_CHUNK_DONE && c->line_n <= (size_t)(behind - start);
    return is_whole ? str_make(behind - c->line_n, c->line_n) : STR_EMPTY;
}

bool h1_chunked_rewind(struct h1_chunked *c, const char *start, struct str *p)
{
    if (c->state != H1_CHUNK_TRAILER || c->line_n > (size_t)(p->p - start)) {
        return false;
    }
    *p = str_make(p->p - c->line_n, p->n + c->line_n);
    c->line_n = 0;
    c->place = AT_START;
    return true;
}

uint32_t h1_trailers_parse(struct str section, struct field *fields, uint32_t field_max)
{
    struct h1_facts facts = {0};
    if (!h1_has_end(section.p, section.n) ||
        h1_fields_parse(section.p, section.p + section.n, fields, field_max, &facts) !=
            H1_FAULT_NONE) {
        return 0;
    }
    return facts.field_n;
}
