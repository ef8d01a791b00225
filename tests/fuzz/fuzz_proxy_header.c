/* PROXY headers: however they arrive the outcome is the same, nothing behind a header counts, and
 * what was understood survives being written and read again. */
#include "base/limits.h"
#include "wire/proxy_header.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static bool is_same(const struct proxy_header *a, const struct proxy_header *b)
{
    return a->is_local == b->is_local && a->version == b->version &&
           ip_cmp(&a->source, &b->source) == 0 && ip_cmp(&a->destination, &b->destination) == 0 &&
           a->source_port == b->source_port && a->destination_port == b->destination_port;
}

/* The first outcome over growing prefixes. */
static enum err by_bytes(struct str bytes, struct proxy_header *h, size_t *ret_n)
{
    enum err e = E_AGAIN;
    for (size_t at = 0; at <= bytes.n && e == E_AGAIN; at++) {
        e = proxy_header_parse(str_first(bytes, at), h, ret_n);
        must(e != E_AGAIN || *ret_n > at);
        must(e != E_AGAIN || *ret_n <= PROXY_V2_BYTES_MAX);
    }
    return e;
}

static void check_emit(const struct proxy_header *h)
{
    char room[PROXY_V1_BYTES_MAX];
    struct proxy_header again;
    size_t n;
    struct wr w = wr_make(room, h->version == 1 ? PROXY_V1_BYTES_MAX : PROXY_V2_BYTES_EMITTED);
    proxy_header_emit(&w, h);
    must(!w.bad && proxy_header_parse((struct str){room, wr_n(&w)}, &again, &n) == E_OK);
    must(n == wr_n(&w) && is_same(h, &again));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct str bytes = {(const char *)data, n};
    struct proxy_header h, slow;
    size_t whole_n = 0, slow_n = 0;
    enum err e = proxy_header_parse(bytes, &h, &whole_n);
    must(e == by_bytes(bytes, &slow, &slow_n));
    if (e != E_OK) {
        return 0;
    }
    must(whole_n == slow_n && whole_n <= n && is_same(&h, &slow));
    must(h.is_local || h.source.family == h.destination.family);
    must(!h.is_local || (h.source.family == 0 && h.destination.family == 0));
    must(proxy_header_parse(str_first(bytes, whole_n), &slow, &slow_n) == E_OK);
    check_emit(&h);
    return 0;
}
