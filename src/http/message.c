/* Looking fields up, and which of them end at a proxy. */
#include "http/message.h"

bool http_field_get(const struct field *fields, uint32_t n, enum field_name id, struct str *ret)
{
    for (uint32_t i = 0; i < n; i++) {
        if (fields[i].id == id) {
            *ret = fields[i].value;
            return true;
        }
    }
    return false;
}

bool http_field_find(const struct field *fields, uint32_t n, struct str name, struct str *ret)
{
    for (uint32_t i = 0; i < n; i++) {
        if (str_eq_nocase(fields[i].name, name)) {
            *ret = fields[i].value;
            return true;
        }
    }
    return false;
}

/* RFC 9110 section 7.6.1; TE and Upgrade are put back by whoever speaks for the next hop. */
static const bool hop_by_hop[FIELD_NAMES_N] = {
    [FIELD_connection] = true,         [FIELD_keep_alive] = true,
    [FIELD_proxy_connection] = true,   [FIELD_te] = true,
    [FIELD_transfer_encoding] = true,  [FIELD_upgrade] = true,
    [FIELD_proxy_authenticate] = true, [FIELD_proxy_authorization] = true,
    [FIELD_http2_settings] = true,
};

bool http_field_is_hop_by_hop(enum field_name id)
{
    return hop_by_hop[id];
}
