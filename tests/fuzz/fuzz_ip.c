/* Addresses and prefixes: emit and parse are inverse; the C library takes the same texts. */
#include <arpa/inet.h>
#include <string.h>

#include "base/err.h"
#include "wire/ip.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static bool is_same(const struct ip *a, const struct ip *b)
{
    return a->family == b->family && memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

static void check_emit(const struct ip *ip)
{
    char room[IP_TEXT_MAX];
    struct wr w = wr_make(room, sizeof(room));
    struct ip again;
    ip_emit(&w, ip);
    must(!w.bad && ip_parse((struct str){room, wr_n(&w)}, &again) == E_OK && is_same(ip, &again));
}

static void check_text(struct str text)
{
    char cstr[64];
    uint8_t theirs[16] = {0};
    struct ip ip;
    bool is_ours = ip_parse(text, &ip) == E_OK;
    if (str_to_cstr(text, cstr, sizeof(cstr))) {
        int family = strchr(cstr, ':') != NULL ? AF_INET6 : AF_INET;
        must((inet_pton(family, cstr, theirs) == 1) == is_ours);
        must(!is_ours || memcmp(theirs, ip.bytes, sizeof(theirs)) == 0);
    }
    if (is_ours) {
        check_emit(&ip);
        must(ip_cmp(&ip, &ip) == 0);
    }
}

static void check_prefix(struct str text)
{
    struct ip_prefix p;
    if (ip_prefix_parse(text, &p) != E_OK) {
        return;
    }
    must(p.bits <= (p.ip.family == 4 ? 32 : 128));
    must(ip_prefix_has(&p, &p.ip));
    struct ip other = p.ip;
    if (p.bits > 0) {
        other.bytes[(p.bits - 1) / 8] ^= (uint8_t)(0x80U >> ((p.bits - 1) % 8));
        must(!ip_prefix_has(&p, &other));
    }
}

static void check_prefixes(struct str text)
{
    enum { MAX = 3 };
    struct ip_prefix prefixes[MAX];
    uint32_t n = MAX + 1;
    enum err e = ip_prefixes_parse(text, prefixes, MAX, &n);
    must(e == E_OK ? n <= MAX : n == MAX + 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct str text = {(const char *)data, n};
    check_text(text);
    check_prefix(text);
    check_prefixes(text);
    if (n >= 16) { /* any bytes are an address */
        struct ip ip = {.family = 6};
        memcpy(ip.bytes, data, 16);
        check_emit(&ip);
    }
    return 0;
}
