/* Server names in ClientHellos: by a table of hand-made ones, by those of real clients
 * (tests/fuzz/corpus/client_hello), and beside OpenSSL's server over thousands of changed ones; in
 * one record or many, whole, byte by byte and split at each offset; limits at n and n + 1. */
#include "wire/client_hello.h"

#include <dirent.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"

enum { ROOM = 4 * CLIENT_HELLO_BYTES_MAX };

struct hello { /* how one is made */
    struct str extensions;
    bool has_extensions;
    size_t session_n, ciphers_n, compression_n;
    size_t record_n;    /* of message bytes in one record; 0: all */
    int length_off;     /* added to the message's length */
    int extensions_off; /* added to the extensions' length */
};

static void wr_be(struct wr *w, size_t value, size_t bytes)
{
    for (size_t i = bytes; i > 0; i--) {
        wr_char(w, (char)(value >> (8 * (i - 1))));
    }
}

static void wr_fill(struct wr *w, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        wr_char(w, 'r');
    }
}

static size_t message_make(const struct hello *h, char *room)
{
    struct wr w = wr_make(room, ROOM);
    wr_fill(&w, 4);
    wr_be(&w, 0x0303, 2);
    wr_fill(&w, 32);
    wr_be(&w, h->session_n, 1);
    wr_fill(&w, h->session_n);
    wr_be(&w, h->ciphers_n, 2);
    wr_fill(&w, h->ciphers_n);
    wr_be(&w, h->compression_n, 1);
    wr_fill(&w, h->compression_n);
    if (h->has_extensions) {
        wr_be(&w, (size_t)((int)h->extensions.n + h->extensions_off), 2);
        wr_str(&w, h->extensions);
    }
    assert_false(w.bad);
    struct wr head = wr_make(room, 4);
    wr_char(&head, 1);
    wr_be(&head, (size_t)((int)wr_n(&w) - 4 + h->length_off), 3);
    return wr_n(&w);
}

static size_t records_make(struct str message, size_t record_n, char *room)
{
    struct wr w = wr_make(room, ROOM);
    record_n = record_n == 0 ? message.n : record_n;
    while (message.n > 0) {
        struct str part = str_first(message, record_n);
        wr_str(&w, STR("\x16\x03\x01"));
        wr_be(&w, part.n, 2);
        wr_str(&w, part);
        message = str_from(message, part.n);
    }
    assert_false(w.bad);
    return wr_n(&w);
}

static size_t hello_make(const struct hello *h, char *room)
{
    static char message[ROOM];
    size_t n = message_make(h, message);
    return records_make(str_make(message, n), h->record_n, room);
}

static struct str name_of(const struct client_hello *h)
{
    return str_make(h->name, h->name_n);
}

static enum err parse(struct str bytes, struct client_hello *ret, size_t *ret_n)
{
    static char scratch[CLIENT_HELLO_BYTES_MAX];
    return client_hello_parse(bytes, scratch, ret, ret_n);
}

/* The outcome over growing prefixes, which is also that of every split in two. */
static enum err parse_slowly(struct str bytes, struct client_hello *ret, size_t *ret_n)
{
    enum err e = E_AGAIN;
    for (size_t at = 0; at <= bytes.n && e == E_AGAIN; at++) {
        size_t asked = *ret_n;
        e = parse(str_first(bytes, at), ret, ret_n);
        assert_true(e != E_AGAIN || (*ret_n > at && *ret_n <= CLIENT_HELLO_BYTES_MAX));
        assert_true(e != E_OK || at >= asked); /* what was asked for was needed */
    }
    return e;
}

/* want NULL: E_PROTO. */
static void expect(struct str bytes, const char *want, const char *what)
{
    struct client_hello h = {0}, slow = {0};
    size_t n = 0, slow_n = 0;
    enum err e = parse(bytes, &h, &n);
    if (e != (want == NULL ? E_PROTO : E_OK)) {
        fail_msg("%s: %s", what, err_text(e));
    }
    assert_int_equal(parse_slowly(bytes, &slow, &slow_n), e);
    if (e == E_OK) {
        if (!str_eq(name_of(&h), str_from_cstr(want))) {
            fail_msg("%s: %.*s", what, STR_ARG(name_of(&h)));
        }
        assert_true(str_eq(name_of(&h), name_of(&slow)));
        assert_int_equal(n, slow_n);
        assert_true(n <= bytes.n);
    }
}

/* ---- the table ---- */

#define SNI(text) "\0\0\0" text
#define GREASE    "\x1a\x1a\0\0"
#define ALPN      "\0\x10\0\x05\0\3\2h2"

/* clang-format off */
static const struct {
    const char *what;
    struct str extensions;
    const char *want; /* NULL = E_PROTO */
} extension_cases[] = {
    {"a name",             STR_INIT(SNI("\x0a\0\x08\0\0\x05" "a.com")), "a.com"},
    {"between others",     STR_INIT(GREASE SNI("\x0a\0\x08\0\0\x05" "a.com") ALPN), "a.com"},
    {"last",               STR_INIT(ALPN GREASE SNI("\x0a\0\x08\0\0\x05" "a.com")), "a.com"},
    {"upper case",         STR_INIT(SNI("\x0a\0\x08\0\0\x05" "A.cOm")), "a.com"},
    {"a trailing dot",     STR_INIT(SNI("\x0a\0\x08\0\0\x05" "a.co.")), "a.co"},
    {"punycode",           STR_INIT(SNI("\x12\0\x10\0\0\x0d" "xn--bcher-kva")), "xn--bcher-kva"},
    {"no extension",       STR_INIT(""), ""},
    {"none of a name",     STR_INIT(GREASE ALPN), ""},
    {"two dots",           STR_INIT(SNI("\x0a\0\x08\0\0\x05" "a..om")), ""},
    {"a star",             STR_INIT(SNI("\x0a\0\x08\0\0\x05" "*.com")), ""},
    {"a slash",            STR_INIT(SNI("\x0a\0\x08\0\0\x05" "a/com")), ""},
    {"a NUL",              STR_INIT(SNI("\x0a\0\x08\0\0\x05" "a\0com")), ""},
    {"a port",             STR_INIT(SNI("\x0a\0\x08\0\0\x05" "a.b:1")), ""},
    {"an IPv6 address",    STR_INIT(SNI("\x0a\0\x08\0\0\x05" "[::1]")), ""},
    {"UTF-8",              STR_INIT(SNI("\x0b\0\x09\0\0\x06" "\xc3\xa4.com")), ""},
    {"an empty name",      STR_INIT(SNI("\x05\0\3\0\0\0")), NULL},
    {"an empty list",      STR_INIT(SNI("\2\0\0")), NULL},
    {"an empty extension", STR_INIT(SNI("\0")), NULL},
    {"another type",       STR_INIT(SNI("\x0a\0\x08\1\0\x05" "a.com")), NULL},
    {"two names",          STR_INIT(SNI("\x12\0\x10\0\0\x05" "a.com" "\0\0\x05" "b.com")), NULL},
    {"two extensions",     STR_INIT(SNI("\x0a\0\x08\0\0\x05" "a.com") SNI("\x0a\0\x08\0\0\x05" "a.com")), NULL},
    {"list too long",      STR_INIT(SNI("\x0a\0\x09\0\0\x05" "a.com")), NULL},
    {"list too short",     STR_INIT(SNI("\x0a\0\x07\0\0\x05" "a.com")), NULL},
    {"name too long",      STR_INIT(SNI("\x0a\0\x08\0\0\x06" "a.com")), NULL},
    {"name too short",     STR_INIT(SNI("\x0a\0\x08\0\0\x04" "a.com")), NULL},
    {"extension too long", STR_INIT(SNI("\x0b\0\x08\0\0\x05" "a.com")), NULL},
    {"extension cut",      STR_INIT(SNI("\x0a\0\x08\0\0\x05" "a.com") "\0\x10\0"), NULL},
    {"type cut",           STR_INIT(SNI("\x0a\0\x08\0\0\x05" "a.com") "\0"), NULL},
    {"last one too long",  STR_INIT(SNI("\x0a\0\x08\0\0\x05" "a.com") "\0\x10\0\1"), NULL},
};
/* clang-format on */

static void extensions(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(extension_cases) / sizeof(extension_cases[0]); i++) {
        for (size_t record_n = 0; record_n < 12; record_n++) {
            static char room[ROOM];
            struct hello h = {extension_cases[i].extensions, true, 32, 30, 1, record_n, 0, 0};
            size_t n = hello_make(&h, room);
            expect(str_make(room, n), extension_cases[i].want, extension_cases[i].what);
        }
    }
}

static void shapes(void **state)
{
    struct str name = STR(SNI("\x0a\0\x08\0\0\x05"
                              "a.com"));
    const struct {
        const char *what;
        struct hello h;
        const char *want;
    } cases[] = {
        {"TLS 1.2 without extensions", {STR_EMPTY, false, 0, 2, 1, 0, 0, 0},  ""     },
        {"no session",                 {name, true, 0, 2, 1, 0, 0, 0},        "a.com"},
        {"longest session",            {name, true, 32, 2, 1, 0, 0, 0},       "a.com"},
        {"session too long",           {name, true, 33, 2, 1, 0, 0, 0},       NULL   },
        {"no cipher",                  {name, true, 0, 0, 1, 0, 0, 0},        "a.com"},
        {"half a cipher",              {name, true, 0, 3, 1, 0, 0, 0},        "a.com"},
        {"no compression",             {name, true, 0, 2, 0, 0, 0, 0},        "a.com"},
        {"several compressions",       {name, true, 0, 2, 3, 0, 0, 0},        "a.com"},
        {"message too short",          {name, true, 0, 2, 1, 0, -1, 0},       NULL   },
        {"message ends at ciphers",    {name, true, 0, 2, 1, 0, -18, 0},      NULL   },
        {"extensions too long",        {name, true, 0, 2, 1, 0, 0, 1},        NULL   },
        {"extensions too short",       {name, true, 0, 2, 1, 0, 0, -1},       NULL   },
        {"not even a random",          {STR_EMPTY, false, 0, 2, 1, 0, -9, 0}, NULL   },
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        static char room[ROOM];
        size_t n = hello_make(&cases[i].h, room);
        expect(str_make(room, n), cases[i].want, cases[i].what);
    }
}

static void something_else(void **state)
{
    static const struct str cases[] = {
        STR_INIT("GET / HTTP/1.1\r\n"),
        STR_INIT("SSH-2.0-x\r\n"),
        STR_INIT("\0"),
        STR_INIT("\x80\x2e\x01\x03\x01"),                         /* a ClientHello of SSL 2 */
        STR_INIT("\x15\x03\x01\x00\x02\x02\x28"),                 /* an alert */
        STR_INIT("\x17\x03\x03\x00\x01z"),                        /* data */
        STR_INIT("\x16\x02\x00\x00\x01\x01"),                     /* another version of records */
        STR_INIT("\x16\x03\x01\x00\x00"),                         /* an empty record */
        STR_INIT("\x16\x03\x01\x40\x01"),                         /* one that is too long */
        STR_INIT("\x16\x03\x01\x00\x01\x02"),                     /* a ServerHello */
        STR_INIT("\x16\x03\x01\x00\x01\x01\x15"),                 /* an alert between the pieces */
        STR_INIT("\x16\x03\x01\x00\x01\x01\x16\x03\x01\x00\x00"), /* an empty piece */
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        expect(cases[i], NULL, "something else");
    }
}

/* ---- limits ---- */

static void longest(void **state)
{
    static char extension[CLIENT_HELLO_BYTES_MAX], room[ROOM];
    struct client_hello h;
    size_t n, need = 0;
    (void)state;
    for (size_t over = 0; over < 2; over++) {
        /* one record: 5 + 4 + 34 + 1 + 4 + 2 + 2 + extensions; an unknown one fills it */
        size_t size = CLIENT_HELLO_BYTES_MAX - 52 + over;
        struct wr w = wr_make(extension, sizeof(extension));
        wr_be(&w, 0x1a1a, 2);
        wr_be(&w, size - 4, 2);
        wr_fill(&w, size - 4);
        struct hello hello = {str_make(extension, size), true, 0, 2, 1, 0, 0, 0};
        n = hello_make(&hello, room);
        assert_int_equal(n, CLIENT_HELLO_BYTES_MAX + over);
        enum err want = over == 0 ? E_OK : E_LIMIT;
        assert_int_equal(parse(str_make(room, n), &h, &need), want);
        assert_int_equal(parse_slowly(str_make(room, n), &h, &need), want);
        /* two records: 5 bytes more */
        hello.record_n = 9000;
        n = hello_make(&hello, room);
        assert_int_equal(parse(str_make(room, n), &h, &need), E_LIMIT);
        assert_int_equal(parse_slowly(str_make(room, n), &h, &need), E_LIMIT);
    }
}

/* Records of one byte each, up to the limit and not over it. */
static void crumbs(void **state)
{
    static char message[ROOM], room[ROOM];
    struct client_hello h;
    size_t need = 0;
    (void)state;
    struct hello hello = {STR(SNI("\x0a\0\x08\0\0\x05"
                                  "a.com")),
                          true,
                          0,
                          2,
                          1,
                          1,
                          0,
                          0};
    expect(str_make(room, hello_make(&hello, room)), "a.com", "crumbs");
    size_t many = CLIENT_HELLO_BYTES_MAX / 6; /* records that fit */
    size_t n = message_make(&hello, message);
    message[1] = 0, message[2] = 0x20, message[3] = 0; /* a long one */
    memset(message + n, 'r', many + 1);
    n = records_make(str_make(message, many + 1), 1, room);
    assert_int_equal(parse(str_make(room, many * 6), &h, &need),
                     many * 6 + 6 > CLIENT_HELLO_BYTES_MAX ? E_LIMIT : E_AGAIN);
    assert_int_equal(parse(str_make(room, (many - 1) * 6), &h, &need), E_AGAIN);
    assert_int_equal(parse(str_make(room, n), &h, &need), E_LIMIT);
}

static void names(void **state)
{
    char raw[SERVER_NAME_BYTES_MAX + 3], out[SERVER_NAME_BYTES_MAX];
    size_t n = 0;
    (void)state;
    memset(raw, 'a', sizeof(raw));
    assert_true(server_name_normalize(str_make(raw, SERVER_NAME_BYTES_MAX), out, &n));
    assert_int_equal(n, SERVER_NAME_BYTES_MAX);
    assert_false(server_name_normalize(str_make(raw, SERVER_NAME_BYTES_MAX + 1), out, &n));
    raw[SERVER_NAME_BYTES_MAX] = '.';
    assert_true(server_name_normalize(str_make(raw, SERVER_NAME_BYTES_MAX + 1), out, &n));
    assert_int_equal(n, SERVER_NAME_BYTES_MAX);
    assert_false(server_name_normalize(str_make(raw, SERVER_NAME_BYTES_MAX + 2), out, &n));
    assert_false(server_name_normalize(STR_EMPTY, out, &n));
}

/* ---- beside OpenSSL ---- */

struct theirs {
    bool was_taken; /* it is a ClientHello to them */
    bool has_name;  /* the extension as it came */
    size_t name_n;
    unsigned char name[1 << 16];
};

static struct theirs theirs;
static size_t taken_n;

static int on_hello(SSL *ssl, int *alert, void *arg)
{
    struct theirs *t = &theirs;
    const unsigned char *p;
    (void)alert;
    (void)arg;
    t->was_taken = true;
    t->has_name = SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &p, &t->name_n) == 1;
    if (t->has_name) {
        memcpy(t->name, p, t->name_n);
    }
    return SSL_CLIENT_HELLO_ERROR; /* that is all we want to know */
}

static const struct theirs *ask_theirs(SSL_CTX *context, struct str bytes)
{
    SSL *ssl = SSL_new(context);
    BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
    theirs.was_taken = theirs.has_name = false;
    assert_true(bytes.n == 0 || BIO_write(in, bytes.p, (int)bytes.n) == (int)bytes.n);
    SSL_set_bio(ssl, in, out);
    (void)SSL_accept(ssl);
    ERR_clear_error();
    SSL_free(ssl);
    taken_n += theirs.was_taken;
    return &theirs;
}

static bool has_empty_record(struct str bytes)
{
    while (bytes.n >= 5) {
        size_t n = (size_t)(uint8_t)bytes.p[3] << 8 | (uint8_t)bytes.p[4];
        if (n == 0) {
            return true;
        }
        bytes = str_from(bytes, 5 + n);
    }
    return false;
}

/* Where they go on, we do, with the same name; ours is the stricter only about what is listed here.
 */
static void compare(SSL_CTX *context, struct str bytes)
{
    struct client_hello h;
    size_t n;
    const struct theirs *t = ask_theirs(context, bytes);
    enum err e = parse(bytes, &h, &n);
    assert_true(e != E_AGAIN || !t->was_taken);
    if (!t->was_taken || ((uint8_t)bytes.p[0] & 0x80) != 0 || has_empty_record(bytes)) {
        return; /* SSL 2; and they take empty records */
    }
    if (!t->has_name) {
        assert_int_equal(e, E_OK);
        assert_int_equal(h.name_n, 0);
        return;
    }
    size_t list_n = t->name_n < 2 ? 0 : (size_t)(t->name[0] << 8 | t->name[1]);
    size_t name_n = t->name_n < 5 ? 0 : (size_t)(t->name[3] << 8 | t->name[4]);
    bool is_list =
        t->name_n > 5 && list_n == t->name_n - 2 && name_n == t->name_n - 5 && t->name[2] == 0;
    assert_int_equal(e, is_list ? E_OK : E_PROTO);
    if (is_list) {
        char out[SERVER_NAME_BYTES_MAX];
        size_t out_n = 0;
        (void)server_name_normalize(str_make((const char *)t->name + 5, name_n), out, &out_n);
        assert_true(str_eq(name_of(&h), str_make(out, out_n)));
    }
}

static uint64_t random_next(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed >> 11;
}

/* The bytes as they are, cut, and changed in a few places. */
static void compare_variants(SSL_CTX *context, struct str bytes, uint64_t *seed)
{
    static char changed[ROOM];
    compare(context, bytes);
    for (size_t at = 0; at < bytes.n; at += 1 + at / 16) {
        compare(context, str_first(bytes, at));
    }
    for (int i = 0; i < 2000; i++) {
        memcpy(changed, bytes.p, bytes.n);
        for (uint64_t edits = 1 + random_next(seed) % 3; edits > 0; edits--) {
            changed[random_next(seed) % bytes.n] = (char)random_next(seed);
        }
        compare(context, str_make(changed, bytes.n));
    }
}

static size_t file_read(const char *name, char *room)
{
    char path[1024];
    (void)snprintf(path, sizeof(path), "%s/%s", HELLO_CORPUS_DIR, name);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    size_t n = fread(room, 1, ROOM, f);
    (void)fclose(f);
    return n;
}

/* Those of OpenSSL, curl, Chromium (post-quantum, ECH), Go, Node, Python; in other records too. */
static void real_clients(void **state)
{
    static const struct {
        const char *file, *name;
    } clients[] = {
        {"openssl_tls13",     "name.example.com"                                             },
        {"openssl_tls12",     "name.example.com"                                             },
        {"openssl_noname",    ""                                                             },
        {"openssl_upper",     "mixed.example.com"                                            },
        {"openssl_fragments", "a-rather-long-name.with-many-labels.in-the-middle.example.com"},
        {"curl",              "name.example.com"                                             },
        {"chromium",          "name.example.com"                                             },
        {"go",                "name.example.com"                                             },
        {"node",              "name.example.com"                                             },
        {"python",            "name.example.com"                                             },
    };
    (void)state;
    for (size_t i = 0; i < sizeof(clients) / sizeof(clients[0]); i++) {
        static char room[ROOM], again[ROOM];
        size_t n = file_read(clients[i].file, room);
        bool is_split = strcmp(clients[i].file, "openssl_fragments") == 0;
        expect(str_make(room, n), clients[i].name, clients[i].file);
        for (size_t record_n = 1; record_n < 400 && !is_split; record_n += 1 + record_n / 4) {
            size_t again_n = records_make(str_make(room + 5, n - 5), record_n, again);
            expect(str_make(again, again_n), clients[i].name, clients[i].file);
        }
    }
}

static void beside_openssl(void **state)
{
    static char room[ROOM];
    uint64_t seed = 4711;
    size_t file_n = 0;
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    (void)state;
    SSL_CTX_set_client_hello_cb(context, on_hello, NULL);
    DIR *dir = opendir(HELLO_CORPUS_DIR);
    assert_non_null(dir);
    for (const struct dirent *e; (e = readdir(dir)) != NULL;) {
        if (e->d_name[0] != '.') {
            compare_variants(context, str_make(room, file_read(e->d_name, room)), &seed);
            file_n++;
        }
    }
    (void)closedir(dir);
    assert_true(file_n >= 10 && taken_n > 5000);
    SSL_CTX_free(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(extensions),     cmocka_unit_test(shapes),
        cmocka_unit_test(something_else), cmocka_unit_test(longest),
        cmocka_unit_test(crumbs),         cmocka_unit_test(names),
        cmocka_unit_test(real_clients),   cmocka_unit_test(beside_openssl),
    };
    return cmocka_run_group_tests_name("wire/client_hello", tests, NULL, NULL);
}
