/* The texts of gRPC: what is read is in range, and a message has no byte that a field must not
 * have and says what it said. */
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "wire/grpc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static int digit_of(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static void check_message(struct str text)
{
    char *room = malloc(3 * text.n + 1);
    struct wr w = wr_make(room, 3 * text.n);
    size_t at = 0;
    grpc_message_emit(&w, text);
    must(!w.bad);
    for (size_t i = 0; i < wr_n(&w); i++, at++) {
        must(room[i] >= ' ' && room[i] <= '~' && at < text.n);
        if (room[i] != '%') {
            must(room[i] == text.p[at]);
            continue;
        }
        must(i + 2 < wr_n(&w));
        must((unsigned char)text.p[at] == digit_of(room[i + 1]) * 16 + digit_of(room[i + 2]));
        i += 2;
    }
    must(at == text.n);
    free(room);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct str text = str_make((const char *)data, n);
    usec_t timeout;
    uint8_t code;
    if (grpc_timeout_parse(text, &timeout) == E_OK) {
        must(n >= 2 && n <= 9 && timeout <= UINT64_C(99999999) * 3600 * USEC_PER_SEC);
    }
    if (grpc_status_parse(text, &code) == E_OK) {
        must(code <= GRPC_STATUS_MAX);
    }
    must(!grpc_is_type(text) || n >= sizeof("application/grpc") - 1);
    check_message(text);
    return 0;
}
