/* ClientHellos: however they arrive the outcome is the same, how they are cut into records does not
 * matter, nothing behind them counts, and a name is one that a host can have. */
#include "wire/client_hello.h"

#include <string.h>

#include "base/err.h"
#include "wire/uri.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* Exactly as much room as the contract asks for. */
static char scratch[CLIENT_HELLO_BYTES_MAX];

static struct str name_of(const struct client_hello *h)
{
    return (struct str){h->name, h->name_n};
}

static void check_name(const struct client_hello *h)
{
    char out[SERVER_NAME_BYTES_MAX];
    struct str host;
    uint16_t port;
    must(h->name_n <= sizeof(h->name));
    if (h->name_n > 0) {
        must(host_parse(name_of(h), out, &host, &port) == E_OK && port == 0);
        must(str_eq(host, name_of(h)));
    }
}

/* The first outcome over growing prefixes; near the end of long ones only. */
static enum err by_bytes(struct str bytes, struct client_hello *h, size_t *ret_n)
{
    enum err e = E_AGAIN;
    for (size_t at = 0; at <= bytes.n && e == E_AGAIN;
         at += at > 600 && bytes.n - at > 40 ? 31 : 1) {
        e = client_hello_parse(str_first(bytes, at), scratch, h, ret_n);
        must(e != E_AGAIN || (*ret_n > at && *ret_n <= CLIENT_HELLO_BYTES_MAX));
    }
    return e;
}

/* The same handshake bytes in records of one byte. */
static size_t crumble(struct str bytes, char *out, size_t room)
{
    size_t n = 0;
    while (bytes.n >= 5) {
        size_t record_n = (size_t)(uint8_t)bytes.p[3] << 8 | (uint8_t)bytes.p[4];
        struct str payload = str_first(str_from(bytes, 5), record_n);
        for (size_t i = 0; i < payload.n && n + 6 <= room; i++) {
            memcpy(out + n, "\x16\x03\x01\0\1", 5);
            out[n + 5] = payload.p[i];
            n += 6;
        }
        bytes = str_from(bytes, 5 + payload.n);
    }
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static char crumbs[CLIENT_HELLO_BYTES_MAX];
    struct str bytes = {(const char *)data, n};
    struct client_hello h = {0}, other = {0};
    size_t whole_n = 0, other_n = 0;
    enum err e = client_hello_parse(bytes, scratch, &h, &whole_n);
    must(by_bytes(bytes, &other, &other_n) == e);
    if (e != E_OK) {
        return 0;
    }
    check_name(&h);
    must(whole_n <= n && whole_n == other_n && str_eq(name_of(&h), name_of(&other)));
    struct str first = str_first(bytes, whole_n);
    size_t crumbs_n = crumble(first, crumbs, sizeof(crumbs));
    e = client_hello_parse((struct str){crumbs, crumbs_n}, scratch, &other, &other_n);
    if (whole_n * 6 < sizeof(crumbs)) {
        must(e == E_OK && str_eq(name_of(&h), name_of(&other)));
    }
    return 0;
}
