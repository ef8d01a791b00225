/* wire/field.h: one header field as bytes, and the names every proxy must know.
 * The well-known names are a table, so that the same numbers serve HTTP/1, HTTP/2 and HTTP/3. */
#pragma once

#include "base/str.h"

enum field_name {
    FIELD_OTHER = 0,
#define FIELD(id, text) FIELD_##id,
#include "wire/field_names.def"
#undef FIELD
    FIELD_NAMES_N
};

struct field {
    struct str name;  /* as received */
    struct str value; /* without leading and trailing blanks */
    enum field_name id;
    uint32_t line_n; /* bytes from name.p to the end of the HTTP/1 line it was parsed from, CRLF
                        included, so that an unchanged field is forwarded by one copy; 0 = none */
};

/* The id of a name, case-insensitively; FIELD_OTHER for one that is not in the table. */
enum field_name field_name_id(struct str name);
/* The lower-case name of an id other than FIELD_OTHER. */
struct str field_name_text(enum field_name id);
