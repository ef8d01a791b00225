/* Times and sizes: what is taken means the same written out as a plain number; nothing is taken
 * that holds anything but digits and units. */
#include <stdio.h>

#include "wire/quantity.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static bool is_made_of(struct str text, const char *letters)
{
    for (size_t i = 0; i < text.n; i++) {
        bool is_digit = text.p[i] >= '0' && text.p[i] <= '9';
        if (!is_digit && (text.p[i] == '\0' || str_find(str_from_cstr(letters), text.p[i]) ==
                                                   str_from_cstr(letters).n)) {
            return false;
        }
    }
    return text.n > 0;
}

static void check_duration(struct str text)
{
    char plain[32];
    usec_t value, again;
    if (duration_parse(text, &value) == E_OK) {
        must(is_made_of(text, "umsh"));
        (void)snprintf(plain, sizeof(plain), "%lluus", (unsigned long long)value);
        must(duration_parse(str_from_cstr(plain), &again) == E_OK && again == value);
    }
}

static void check_size(struct str text)
{
    char plain[32];
    uint64_t value, again;
    if (size_parse(text, &value) == E_OK) {
        must(is_made_of(text, "kKmMgG"));
        (void)snprintf(plain, sizeof(plain), "%llu", (unsigned long long)value);
        must(size_parse(str_from_cstr(plain), &again) == E_OK && again == value);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct str text = {(const char *)data, n};
    bool flag;
    check_duration(text);
    check_size(text);
    must(switch_parse(text, &flag) != E_OK || text.n <= sizeof("false") - 1);
    return 0;
}
