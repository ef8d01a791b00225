/* The table of well-known field names. A name is found by a perfect hash over its length, its first
 * and its last but one byte: two names in one slot do not compile (-Woverride-init), a name without
 * a slot fails its test. */
#include "wire/field.h"

enum { SLOTS = 128, LONGEST = 24 };

#define SLOT(n, first, near_last) (((n) + (first)*5 + (near_last)*8) % SLOTS)

static const uint8_t slots[SLOTS] = {
    [SLOT(6, 'a', 'p')] = FIELD_accept,
    [SLOT(10, 'c', 'o')] = FIELD_connection,
    [SLOT(14, 'c', 't')] = FIELD_content_length,
    [SLOT(12, 'c', 'p')] = FIELD_content_type,
    [SLOT(4, 'd', 't')] = FIELD_date,
    [SLOT(6, 'e', 'c')] = FIELD_expect,
    [SLOT(9, 'f', 'e')] = FIELD_forwarded,
    [SLOT(4, 'h', 's')] = FIELD_host,
    [SLOT(14, 'h', 'g')] = FIELD_http2_settings,
    [SLOT(10, 'k', 'v')] = FIELD_keep_alive,
    [SLOT(8, 'l', 'o')] = FIELD_location,
    [SLOT(5, 'p', 'x')] = FIELD_proxy,
    [SLOT(18, 'p', 't')] = FIELD_proxy_authenticate,
    [SLOT(19, 'p', 'o')] = FIELD_proxy_authorization,
    [SLOT(16, 'p', 'o')] = FIELD_proxy_connection,
    [SLOT(7, 'r', 'e')] = FIELD_referer,
    [SLOT(6, 's', 'e')] = FIELD_server,
    [SLOT(2, 't', 't')] = FIELD_te,
    [SLOT(7, 't', 'e')] = FIELD_trailer,
    [SLOT(17, 't', 'n')] = FIELD_transfer_encoding,
    [SLOT(7, 'u', 'd')] = FIELD_upgrade,
    [SLOT(10, 'u', 'n')] = FIELD_user_agent,
    [SLOT(3, 'v', 'i')] = FIELD_via,
    [SLOT(15, 'x', 'o')] = FIELD_x_forwarded_for,
    [SLOT(16, 'x', 's')] = FIELD_x_forwarded_host,
    [SLOT(16, 'x', 'r')] = FIELD_x_forwarded_port,
    [SLOT(17, 'x', 't')] = FIELD_x_forwarded_proto,
    [SLOT(18, 'x', 'm')] = FIELD_x_forwarded_scheme,
    [SLOT(24, 'x', 'o')] = FIELD_x_original_forwarded_for,
    [SLOT(9, 'x', 'i')] = FIELD_x_real_ip,
    [SLOT(12, 'x', 'i')] = FIELD_x_request_id,
    [SLOT(8, 'x', 'm')] = FIELD_x_scheme,
};

static const struct str names[FIELD_NAMES_N] = {
#define FIELD(id, text) [FIELD_##id] = STR_INIT(text),
#include "wire/field_names.def"
#undef FIELD
};

enum field_name field_name_id(struct str name)
{
    if (name.n < 2 || name.n > LONGEST) {
        return FIELD_OTHER;
    }
    unsigned first = (uint8_t)ascii_lower(name.p[0]);
    unsigned near_last = (uint8_t)ascii_lower(name.p[name.n - 2]);
    enum field_name id = slots[SLOT((unsigned)name.n, first, near_last)];
    return id != FIELD_OTHER && str_eq_nocase(name, names[id]) ? id : FIELD_OTHER;
}

struct str field_name_text(enum field_name id)
{
    return names[id];
}
