/* Numbers with units, and percent signs. */
#include "wire/grpc.h"

enum { DIGITS_MAX = 8 };

static const struct {
    char letter;
    uint64_t nsec;
} units[] = {
    {'H', UINT64_C(3600000000000)},
    {'M', UINT64_C(60000000000)  },
    {'S', UINT64_C(1000000000)   },
    {'m', UINT64_C(1000000)      },
    {'u', UINT64_C(1000)         },
    {'n', UINT64_C(1)            },
};

enum err grpc_timeout_parse(struct str text, usec_t *ret)
{
    enum { NSEC_PER_USEC = 1000, NUMBER_MAX = 99999999 };
    uint64_t number;
    if (text.n < 2 || text.n > DIGITS_MAX + 1 ||
        !str_to_u64(str_first(text, text.n - 1), NUMBER_MAX, &number)) {
        return E_PROTO;
    }
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (units[i].letter != text.p[text.n - 1]) {
            continue;
        }
        /* In two steps: the product of hours would not fit. */
        uint64_t whole = units[i].nsec / NSEC_PER_USEC;
        *ret = whole > 0 ? number * whole : (number + NSEC_PER_USEC - 1) / NSEC_PER_USEC;
        return E_OK;
    }
    return E_PROTO;
}

enum err grpc_status_parse(struct str text, uint8_t *ret)
{
    uint64_t code;
    if (!str_to_u64(text, GRPC_STATUS_MAX, &code)) {
        return E_PROTO;
    }
    *ret = (uint8_t)code;
    return E_OK;
}

bool grpc_is_type(struct str content_type)
{
    const struct str base = STR("application/grpc");
    if (!str_eq_nocase(str_first(content_type, base.n), base)) {
        return false;
    }
    struct str rest = str_from(content_type, base.n);
    return rest.n == 0 || rest.p[0] == '+' || rest.p[0] == ';' || rest.p[0] == '-' ||
           rest.p[0] == ' ';
}

void grpc_message_emit(struct wr *w, struct str text)
{
    static const char digits[] = "0123456789ABCDEF";
    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];
        if (c >= ' ' && c <= '~' && c != '%') {
            wr_char(w, text.p[i]);
            continue;
        }
        wr_char(w, '%');
        wr_char(w, digits[c >> 4]);
        wr_char(w, digits[c & 15]);
    }
}
