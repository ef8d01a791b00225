/* The types of option values: what is right, and how to say what is wrong. */
#include "cli/value.h"

#include "wire/ip.h"
#include "wire/quantity.h"
#include "wire/uri.h"

typedef enum err parse_fn(const struct cli_option *o, struct str text, uint64_t *ret,
                          struct buf *error);

static enum err refuse(struct buf *error, const char *why)
{
    buf_add_str(error, str_from_cstr(why));
    return E_PROTO;
}

static enum err parse_flag(const struct cli_option *o, struct str text, uint64_t *ret,
                           struct buf *error)
{
    (void)o;
    if (!str_eq(text, STR("true")) && !str_eq(text, STR("false"))) {
        return refuse(error, "a switch is true or false; write it without a value to turn it on");
    }
    *ret = str_eq(text, STR("true"));
    return E_OK;
}

static enum err parse_string(const struct cli_option *o, struct str text, uint64_t *ret,
                             struct buf *error)
{
    (void)o;
    (void)ret;
    if (text.n == 0) {
        return refuse(error, "a value is needed here; leave the option out for the default");
    }
    return E_OK;
}

static enum err parse_number(const struct cli_option *o, struct str text, uint64_t *ret,
                             struct buf *error)
{
    uint64_t number;
    if (!str_to_u64(text, o->high, &number) || number < o->low) {
        buf_addf(error, "%s is a number from %llu to %llu, in decimal digits",
                 o->type == CLI_PORT ? "a port" : "the value", (unsigned long long)o->low,
                 (unsigned long long)o->high);
        return E_PROTO;
    }
    *ret = number;
    return E_OK;
}

static enum err parse_duration(const struct cli_option *o, struct str text, uint64_t *ret,
                               struct buf *error)
{
    usec_t value;
    if (duration_parse(text, &value) != E_OK) {
        return refuse(error, "a time is a number and a unit (us, ms, s, m, h), as 30s or 1m30s");
    }
    if (value < o->low || value > o->high) {
        bool is_whole = o->low % USEC_PER_SEC == 0; /* else some milliseconds */
        buf_addf(error, "it must be from %llu%s to %llus",
                 (unsigned long long)(o->low / (is_whole ? USEC_PER_SEC : USEC_PER_MS)),
                 is_whole ? "s" : "ms", (unsigned long long)(o->high / USEC_PER_SEC));
        return E_PROTO;
    }
    *ret = value;
    return E_OK;
}

static enum err parse_size(const struct cli_option *o, struct str text, uint64_t *ret,
                           struct buf *error)
{
    uint64_t value;
    if (size_parse(text, &value) != E_OK) {
        return refuse(error, "a size is a number of bytes, or of k, m or g, as 8k or 1m");
    }
    if (value < o->low || value > o->high) {
        buf_addf(error, "it must be from %llu to %llu bytes", (unsigned long long)o->low,
                 (unsigned long long)o->high);
        return E_PROTO;
    }
    *ret = value;
    return E_OK;
}

static enum err parse_prefixes(const struct cli_option *o, struct str text, uint64_t *ret,
                               struct buf *error)
{
    struct ip_prefix prefixes[TRUSTED_PREFIXES_MAX];
    uint32_t n;
    (void)o;
    (void)ret;
    if (ip_prefixes_parse(text, prefixes, TRUSTED_PREFIXES_MAX, &n) != E_OK) {
        return refuse(error, "address prefixes are written as 10.0.0.0/8,2001:db8::/32, at most "
                             "64 of them");
    }
    return E_OK;
}

static enum err parse_choice(const struct cli_option *o, struct str text, uint64_t *ret,
                             struct buf *error)
{
    struct str rest = str_from_cstr(o->argument), word;
    for (uint64_t i = 0; rest.n > 0; i++) {
        (void)str_cut(rest, '|', &word, &rest); /* the last one has no separator behind it */
        if (str_eq(word, text)) {
            *ret = i;
            return E_OK;
        }
    }
    buf_add_str(error, STR("it is one of "));
    for (const char *p = o->argument; *p != 0; p++) {
        buf_add_str(error, *p == '|' ? STR(", ") : str_make(p, 1));
    }
    return E_PROTO;
}

static enum err parse_address(const struct cli_option *o, struct str text, uint64_t *ret,
                              struct buf *error)
{
    struct ip ip;
    (void)o;
    (void)ret;
    if (ip_parse(text, &ip) != E_OK) {
        return refuse(error, "an address is written as 192.0.2.1 or 2001:db8::1, without brackets, "
                             "port or name");
    }
    return E_OK;
}

enum err cli_host_port_parse(struct str text, struct str *ret_host, uint16_t *ret_port)
{
    size_t colon = text.n;
    uint64_t port;

    while (colon > 0 && text.p[colon - 1] != ':') {
        colon--;
    }
    if (colon < 2 || !str_to_u64(str_from(text, colon), UINT16_MAX, &port) || port == 0) {
        return E_PROTO;
    }
    struct str host = str_first(text, colon - 1);
    if (host.p[0] == '[' && host.n > 2 && host.p[host.n - 1] == ']') {
        host = str_make(host.p + 1, host.n - 2);
    } else if (str_find(host, ':') < host.n) {
        return E_PROTO;
    }
    *ret_host = host;
    *ret_port = (uint16_t)port;
    return E_OK;
}

static enum err parse_paths(const struct cli_option *o, struct str text, uint64_t *ret,
                            struct buf *error)
{
    struct str paths[PLAIN_PATHS_MAX];
    uint32_t n;
    (void)o;
    (void)ret;
    if (uri_paths_parse(text, paths, PLAIN_PATHS_MAX, &n) != E_OK) {
        return refuse(error, "paths are written as /a,/b/c, without escapes, \"//\", \".\" or "
                             "\"..\", at most 32 of them and each at most 1024 bytes long");
    }
    return E_OK;
}

static enum err parse_host_port(const struct cli_option *o, struct str text, uint64_t *ret,
                                struct buf *error)
{
    struct str host;
    struct ip ip;
    uint16_t port;
    (void)o;
    (void)ret;
    if (cli_host_port_parse(text, &host, &port) != E_OK ||
        (!str_eq(host, STR("localhost")) && ip_parse(host, &ip) != E_OK)) {
        return refuse(error, "an address and a port are written as 127.0.0.1:10254 or "
                             "[::1]:10254");
    }
    return E_OK;
}

enum err cli_bind_parse(struct str text, char ret_host[CLI_BIND_HOST_BYTES], uint16_t *ret_port)
{
    struct str host = STR_EMPTY, rest;
    uint64_t port;
    struct ip ip;
    if (str_cut(text, ':', &host, &rest) && host.n == 0) {
        if (!str_to_u64(rest, UINT16_MAX, &port)) {
            return E_PROTO;
        }
        *ret_port = (uint16_t)port;
        ret_host[0] = '\0';
        return E_OK;
    }
    TRY(cli_host_port_parse(text, &host, ret_port));
    TRY(ip_parse(host, &ip));
    return str_to_cstr(host, ret_host, CLI_BIND_HOST_BYTES) ? E_OK : E_PROTO;
}

static enum err parse_bind(const struct cli_option *o, struct str text, uint64_t *ret,
                           struct buf *error)
{
    char host[CLI_BIND_HOST_BYTES];
    uint16_t port;
    (void)o;
    (void)ret;
    if (text.n > 0 && cli_bind_parse(text, host, &port) != E_OK) { /* empty: off */
        return refuse(error, "where to listen is written as :8443, 192.0.2.1:8443 or "
                             "[2001:db8::1]:8443");
    }
    return E_OK;
}

static enum err parse_object(const struct cli_option *o, struct str text, uint64_t *ret,
                             struct buf *error)
{
    struct str space, name;
    (void)o;
    (void)ret;
    if (!str_cut(text, '/', &space, &name) || !dns_label_is_valid(space) ||
        !dns_subdomain_is_valid(name)) {
        return refuse(error, "an object is written as namespace/name, in lower-case letters, "
                             "digits and '-'");
    }
    return E_OK;
}

static enum err parse_namespace(const struct cli_option *o, struct str text, uint64_t *ret,
                                struct buf *error)
{
    (void)o;
    (void)ret;
    if (!dns_label_is_valid(text)) {
        return refuse(error, "the name of a namespace has 1 to 63 lower-case letters, digits and "
                             "'-'");
    }
    return E_OK;
}

static bool is_token_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           str_find(STR("!#$%&'*+-.^_`|~"), c) < sizeof("!#$%&'*+-.^_`|~") - 1;
}

static bool is_token(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (!is_token_char(s.p[i])) {
            return false;
        }
    }
    return s.n > 0;
}

static enum err parse_token(const struct cli_option *o, struct str text, uint64_t *ret,
                            struct buf *error)
{
    (void)o;
    (void)ret;
    if (!is_token(text)) {
        return refuse(error, "it must be a word of letters, digits and !#$%&'*+-.^_`|~");
    }
    return E_OK;
}

static enum err parse_field(const struct cli_option *o, struct str text, uint64_t *ret,
                            struct buf *error)
{
    struct str name, value;
    (void)o;
    (void)ret;
    if (!str_cut(text, ':', &name, &value) || !is_token(name) || str_find(value, '\n') < value.n ||
        str_find(value, '\r') < value.n) {
        return refuse(error, "a field is written as 'Name: value'");
    }
    return E_OK;
}

enum err cli_value_parse(const struct cli_option *o, struct str text, uint64_t *ret_number,
                         struct buf *error)
{
    static parse_fn *const parse[CLI_TYPES_N] = {
        [CLI_FLAG] = parse_flag,         [CLI_STRING] = parse_string,
        [CLI_DIRECTORY] = parse_string,  [CLI_FILE] = parse_string,
        [CLI_PORT] = parse_number,       [CLI_COUNT] = parse_number,
        [CLI_DURATION] = parse_duration, [CLI_SIZE] = parse_size,
        [CLI_PREFIXES] = parse_prefixes, [CLI_CHOICE] = parse_choice,
        [CLI_ADDRESS] = parse_address,   [CLI_HOST_PORT] = parse_host_port,
        [CLI_OBJECT] = parse_object,     [CLI_NAMESPACE] = parse_namespace,
        [CLI_TOKEN] = parse_token,       [CLI_FIELD] = parse_field,
        [CLI_BIND] = parse_bind,         [CLI_PATHS] = parse_paths,
    };
    uint64_t number = 0;
    TRY(parse[o->type](o, text, &number, error));
    *ret_number = number;
    return E_OK;
}
