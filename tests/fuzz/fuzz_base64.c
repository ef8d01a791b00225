/* Base64: what is accepted fits its room and is the one text for its bytes: encoding it again gives
 * the input without line breaks. */
#include <stdlib.h>

#include "base/err.h"
#include "wire/base64.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static char digit_at(const char *bytes, size_t n, size_t bit)
{
    unsigned value = 0;
    for (size_t i = bit; i < bit + 6; i++) {
        value = value << 1 | (i < n * 8 ? (unsigned)((uint8_t)bytes[i / 8] >> (7 - i % 8)) & 1 : 0);
    }
    return "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[value];
}

static void check_encoded(struct str text, const char *bytes, size_t n)
{
    size_t digit_n = 0;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] == '\r' || text.p[i] == '\n') {
            continue;
        }
        must(text.p[i] == (digit_n * 6 < n * 8 ? digit_at(bytes, n, digit_n * 6) : '='));
        digit_n++;
    }
    must(digit_n == (n + 2) / 3 * 4);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct str text = {(const char *)data, n};
    size_t room = base64_room(n), out_n = 0;
    char *out = malloc(room);
    must(out != NULL);
    if (base64_decode(text, out, &out_n) == E_OK) {
        must(out_n <= room);
        check_encoded(text, out, out_n);
    }
    free(out);
    return 0;
}
