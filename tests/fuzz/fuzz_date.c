/* Timestamps: what is parsed is emitted and parsed to the same second; any number is emitted or
 * refused, within its room. */
#include <string.h>

#include "base/err.h"
#include "wire/date.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { RFC3339_BYTES = 20, HTTP_BYTES = 29, LOG_BYTES = 26 };

static void check_emit(int64_t seconds)
{
    char room[HTTP_BYTES];
    struct wr w = wr_make(room, sizeof(room));
    date_emit_rfc3339(&w, seconds);
    if (!w.bad) {
        int64_t again;
        must(wr_n(&w) == RFC3339_BYTES);
        must(date_parse_rfc3339((struct str){room, RFC3339_BYTES}, &again) == E_OK);
        must(again == seconds);
    }
    bool has_four_digits = !w.bad;
    w = wr_make(room, sizeof(room));
    date_emit_http(&w, seconds);
    must(w.bad == !has_four_digits && wr_n(&w) == (w.bad ? 0 : HTTP_BYTES));
    w = wr_make(room, sizeof(room));
    date_emit_log(&w, seconds);
    must(w.bad == !has_four_digits && wr_n(&w) == (w.bad ? 0 : LOG_BYTES));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    int64_t seconds = 0;
    if (date_parse_rfc3339((struct str){(const char *)data, n}, &seconds) == E_OK) {
        must(n >= RFC3339_BYTES);
        check_emit(seconds);
    }
    if (n >= sizeof(seconds)) {
        memcpy(&seconds, data, sizeof(seconds));
        check_emit(seconds);
        check_emit(seconds % 300000000000);
    }
    return 0;
}
