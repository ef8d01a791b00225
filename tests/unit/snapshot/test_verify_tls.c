/* Each rule of schema.h about what handshakes are answered with: one field of a good shard is
 * changed, and the verifier says which rule that breaks. The rest of the rules is in
 * test_verify.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../lib/snapshot_tls.h"
#include "../../lib/snapshot_walk.h"
#include "snapshot/verify.h"

#define DIGITS "0123456789abcdef"
#define HASH   DIGITS DIGITS DIGITS DIGITS

enum which { SITE, GUARDED, CERTIFICATE, AUTHORITY, STAPLE, KEY, TICKETS, WHICH_N };

static const struct str ders[] = {STR_INIT("der"), STR_INIT("another")};
static const struct str hosts[] = {STR_INIT("a.test"), STR_INIT("*.b.test")};
static const struct make_secret secret = {.name = "s",
                                          .texts = ders,
                                          .text_n = 2,
                                          .more = hosts,
                                          .more_n = 2,
                                          .key_name = HASH,
                                          .key_kind = SNAP_KEY_ED448};

static enum err make_kind(enum which which, struct buf *b)
{
    static const struct make_site plain = {
        .pattern = "a.test",
        .certificates = {"shop/s", "shop/t", "shop/u", "shop/v"},
        .passthrough = "shop/web/443"
    };
    static const struct make_site guarded = {.pattern = "*.b.test",
                                             .verify = SNAP_VERIFY_OPTIONAL_NO_CA,
                                             .depth = 255,
                                             .passes_certificate = true,
                                             .authority = "shop/ca",
                                             .name_pattern = "CN=.*",
                                             .error_page = "https://a.test/",
                                             .policy = 1};
    switch (which) {
    case SITE:
        return make_site(b, &plain);
    case GUARDED:
        return make_site(b, &guarded);
    case CERTIFICATE:
        return make_certificate(b, &secret);
    case AUTHORITY:
        return make_authority(b, &secret);
    case STAPLE:
        return make_staple(b, "shop/s", STR("response"));
    case KEY:
        return make_key(b, HASH, STR("key"));
    case TICKETS:
        return make_tickets(b, (const uint8_t *)"ABCDEFGH", SNAP_TICKET_KEYS_MAX);
    case WHICH_N:
        break;
    }
    return E_PROTO;
}

static void make(enum which which, struct buf *b)
{
    buf_init(b, 1 << 20);
    assert_int_equal(make_kind(which, b), E_OK);
}

/* Where a field is: in the root (array 0) or in item i of the array whose struct snap_array is at
 * that offset of the root. */
struct edit {
    enum which which;
    size_t array, item_bytes, i;
    size_t field, field_bytes;
    uint64_t value;
    const char *want;
};

#define ROOT(which, type, name, value, want)                                                       \
    {                                                                                              \
        which, 0, 0, 0, offsetof(struct type, name), sizeof(((struct type *)0)->name), value, want \
    }
#define ITEM(which, root, array, i, type, name, value, want)                                       \
    {                                                                                              \
        which, offsetof(struct root, array), sizeof(struct type), i, offsetof(struct type, name),  \
            sizeof(((struct type *)0)->name), value, want                                          \
    }
#define TEXT_OUT(which, type, name)                                                                \
    ROOT(which, type, name.n, UINT32_MAX, "text outside the shard"),                               \
        ROOT(which, type, name.n, 9999, "text outside the shard"),                                 \
        ROOT(which, type, name.offset, UINT32_MAX, "text outside the shard")
#define TEXT(which, type, name)                                                                    \
    TEXT_OUT(which, type, name), ROOT(which, type, name.n, 1, "text without NUL")
#define ARRAY(which, type, name)                                                                   \
    ROOT(which, type, name.n, 1000, "array outside the shard"),                                    \
        ROOT(which, type, name.n, UINT32_MAX, "array outside the shard"),                          \
        ROOT(which, type, name.offset, UINT32_MAX - 7, "array outside the shard"),                 \
        ROOT(which, type, name.offset, 4, "not aligned")
#define TEXTS(which, type, name)                                                                   \
    ARRAY(which, type, name),                                                                      \
        ITEM(which, type, name, 1, snap_str, n, 9999, "text outside the shard"),                   \
        ITEM(which, type, name, 1, snap_str, offset, UINT32_MAX, "text outside the shard"),        \
        ITEM(which, type, name, 0, snap_str, n, 1, "text without NUL")

#define NOT_ZERO  "reserved bytes are not zero"
#define NUMBER    "unknown number"
#define BOOL      "neither 0 nor 1"
#define BAD_HASH  "wrong hash of a name"
#define BAD_RULES "policy of nothing, or none of something"

static const struct edit edits[] = {
    TEXT(SITE, snap_tls_host, table),
    TEXT(SITE, snap_tls_host, host),
    TEXT(GUARDED, snap_tls_host, authority.key),
    TEXT(GUARDED, snap_tls_host, name_pattern),
    TEXT(GUARDED, snap_tls_host, error_page),
    TEXT(SITE, snap_tls_host, passthrough.key),
    ROOT(SITE, snap_tls_host, kind, 0, NUMBER),
    ROOT(SITE, snap_tls_host, kind, SNAP_HOST_ANY + 1, NUMBER),
    ROOT(SITE, snap_tls_host, kind, SNAP_HOST_LABEL, "host differs from its kind"),
    ROOT(SITE, snap_tls_host, kind, SNAP_HOST_ANY, "host differs from its kind"),
    ROOT(GUARDED, snap_tls_host, kind, SNAP_HOST_EXACT, "host is not a lower-case name"),
    ROOT(GUARDED, snap_tls_host, verify, SNAP_VERIFY_OPTIONAL_NO_CA + 1, NUMBER),
    ROOT(SITE, snap_tls_host, is_denied, 2, BOOL),
    ROOT(SITE, snap_tls_host, passes_certificate, 2, BOOL),
    ROOT(SITE, snap_tls_host, zero[0], 1, NOT_ZERO),
    ROOT(SITE, snap_tls_host, zero[2], 1, NOT_ZERO),
    ARRAY(SITE, snap_tls_host, certificates),
    ITEM(SITE, snap_tls_host, certificates, 3, snap_named, key.n, 9999, "text outside the shard"),
    ITEM(SITE, snap_tls_host, certificates, 3, snap_named, key.n, 0, "text without NUL"),
    ITEM(SITE, snap_tls_host, certificates, 0, snap_named, hash, 1, BAD_HASH),
    ITEM(SITE, snap_tls_host, certificates, 3, snap_named, hash, 1, BAD_HASH),
    ROOT(GUARDED, snap_tls_host, authority.hash, 1, BAD_HASH),
    ROOT(SITE, snap_tls_host, authority.hash, 1, "hash of nothing"),
    ROOT(SITE, snap_tls_host, passthrough.hash, 1, BAD_HASH),
    ROOT(GUARDED, snap_tls_host, policy, 0, BAD_RULES),
    ROOT(SITE, snap_tls_host, policy, 1, BAD_RULES),
    ROOT(SITE, snap_tls_host, verify, SNAP_VERIFY_REQUIRED, BAD_RULES),
    ROOT(SITE, snap_tls_host, is_denied, 1, BAD_RULES),
    ROOT(SITE, snap_tls_host, passes_certificate, 1, BAD_RULES),

    TEXT(CERTIFICATE, snap_certificate, namespace_name),
    TEXT_OUT(CERTIFICATE, snap_certificate, name),
    TEXT(CERTIFICATE, snap_certificate, key_name),
    TEXTS(CERTIFICATE, snap_certificate, chain),
    TEXTS(CERTIFICATE, snap_certificate, names),
    ROOT(CERTIFICATE, snap_certificate, chain.n, 0, "chain without a certificate"),
    ROOT(CERTIFICATE, snap_certificate, key_kind, 0, NUMBER),
    ROOT(CERTIFICATE, snap_certificate, key_kind, SNAP_KEY_ED448 + 1, NUMBER),
    ROOT(CERTIFICATE, snap_certificate, zero[0], 1, NOT_ZERO),
    ROOT(CERTIFICATE, snap_certificate, zero[6], 1, NOT_ZERO),
    ROOT(CERTIFICATE, snap_certificate, key_hash, 1, BAD_HASH),

    TEXT(AUTHORITY, snap_authority, namespace_name),
    TEXT_OUT(AUTHORITY, snap_authority, name),
    TEXTS(AUTHORITY, snap_authority, certificates),
    TEXTS(AUTHORITY, snap_authority, revocations),

    TEXT(STAPLE, snap_staple, response),
    TEXT(KEY, snap_key, key),

    ARRAY(TICKETS, snap_tickets, keys),
    ROOT(TICKETS, snap_tickets, keys.n, SNAP_TICKET_KEYS_MAX + 1, "array outside the shard"),
};

static void *edit_at(struct buf *b, const struct edit *e)
{
    char *at = b->p;
    if (e->array != 0) {
        at += snap_at(b, e->array, struct snap_array)->offset + e->i * e->item_bytes;
    }
    return at + e->field;
}

static void every_rule(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(edits) / sizeof(*edits); i++) {
        const struct edit *e = &edits[i];
        struct buf b;
        make(e->which, &b);
        assert_null(verify_copy(&b));
        mem_copy(edit_at(&b, e), &e->value, e->field_bytes < 8 ? e->field_bytes : 8);
        const char *what = verify_copy(&b);
        if (what == NULL || strcmp(what, e->want) != 0) {
            fail_msg("rule %zu: %s instead of %s", i, what == NULL ? "accepted" : what, e->want);
        }
        buf_fini(&b);
    }
}

static void good_ones(void **state)
{
    (void)state;
    for (enum which which = SITE; which < WHICH_N; which++) {
        struct buf b;
        make(which, &b);
        assert_null(verify_copy(&b));
        buf_fini(&b);
    }
}

/* Whatever is cut off, and whatever byte is changed: what is taken can be read. */
static void any_byte(void **state)
{
    (void)state;
    for (enum which which = SITE; which < WHICH_N; which++) {
        struct buf b;
        make(which, &b);
        for (size_t i = 0; i < b.n; i++) {
            char saved = b.p[i];
            for (int bit = 0; bit < 8; bit++) {
                b.p[i] = (char)(saved ^ (1 << bit));
                (void)verify_copy(&b);
            }
            b.p[i] = saved;
        }
        size_t n = b.n;
        for (b.n = sizeof(struct snap_shard); b.n < n; b.n += SNAP_ALIGN) {
            snap_at(&b, 0, struct snap_shard)->bytes = (uint32_t)b.n;
            assert_non_null(verify_copy(&b));
        }
        buf_fini(&b);
    }
}

/* ---- what one field does not show ---- */

static void check_site(const struct make_site *site, const char *want)
{
    struct buf b;
    buf_init(&b, 1 << 20);
    assert_int_equal(make_site(&b, site), E_OK);
    const char *what = verify_copy(&b);
    assert_true(want == NULL ? what == NULL : what != NULL && strcmp(what, want) == 0);
    buf_fini(&b);
}

/* Each thing that is said of clients is a policy of its own. */
static void policies(void **state)
{
    static const struct make_site said[] = {
        {.pattern = "a", .verify = SNAP_VERIFY_OPTIONAL},
        {.pattern = "a", .is_denied = true             },
        {.pattern = "a", .passes_certificate = true    },
        {.pattern = "a", .authority = "shop/ca"        },
        {.pattern = "a", .name_pattern = "x"           },
        {.pattern = "a", .error_page = "x"             },
    };
    (void)state;
    for (size_t i = 0; i < sizeof(said) / sizeof(said[0]); i++) {
        struct make_site site = said[i];
        check_site(&site, BAD_RULES);
        site.policy = UINT64_MAX;
        check_site(&site, NULL);
    }
}

static void certificates_of_a_host(void **state)
{
    struct buf b;
    (void)state;
    check_site(&(struct make_site){.pattern = ""}, NULL);
    check_site(&(struct make_site){.pattern = "", .certificates = {""}},
               "a certificate without a name");
    make(SITE, &b); /* one more than it may have, as good as the others */
    struct snap_tls_host *h = snap_at(&b, 0, struct snap_tls_host);
    struct snap_named first = *snap_at(&b, h->certificates.offset, struct snap_named);
    buf_align(&b, SNAP_ALIGN);
    uint32_t at = (uint32_t)b.n;
    for (uint32_t i = 0; i <= SNAP_TLS_CERTIFICATES_MAX; i++) {
        buf_add(&b, &first, sizeof(first));
    }
    h = snap_at(&b, 0, struct snap_tls_host);
    h->certificates = (struct snap_array){at, SNAP_TLS_CERTIFICATES_MAX};
    h->shard.bytes = (uint32_t)b.n;
    assert_null(verify_copy(&b));
    h->certificates.n++;
    assert_string_equal(verify_copy(&b), "too many certificates for one host");
    buf_fini(&b);
}

static const char *key_name_fault(const char *name)
{
    struct make_secret s = secret;
    struct buf b;
    s.key_name = name;
    buf_init(&b, 1 << 20);
    assert_int_equal(make_certificate(&b, &s), E_OK);
    const char *what = verify_copy(&b);
    buf_reset(&b);
    assert_int_equal(make_key(&b, name, STR("key")), E_OK);
    const char *of_key = verify_copy(&b);
    assert_true(what == NULL ? of_key == NULL : of_key != NULL && strcmp(what, of_key) == 0);
    buf_fini(&b);
    return what;
}

static void names_of_keys(void **state)
{
    static const char *const bad[] = {
        "",
        "0",
        HASH "0",
        "X123456789abcdef" DIGITS DIGITS DIGITS,
        "A123456789abcdef" DIGITS DIGITS DIGITS,
        DIGITS DIGITS DIGITS "0123456789abcde/",
        DIGITS DIGITS DIGITS "0123456789abcdeg",
    };
    (void)state;
    assert_null(key_name_fault(HASH));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_string_equal(key_name_fault(bad[i]), "name of a key is no hash");
    }
}

/* With the right hash, so that nothing else is wrong with it. */
static const char *key_fault(enum which which, struct str key)
{
    struct buf b;
    make(which, &b);
    size_t at = b.n;
    buf_add_str(&b, key);
    buf_add_char(&b, '\0');
    buf_align(&b, SNAP_ALIGN);
    struct snap_shard *shard = snap_at(&b, 0, struct snap_shard);
    shard->key = (struct snap_str){(uint32_t)at, (uint32_t)key.n};
    shard->key_hash = hash_str(key);
    shard->bytes = (uint32_t)b.n;
    const char *what = verify_copy(&b);
    buf_fini(&b);
    return what;
}

static void keys(void **state)
{
    static const char site[] = "key differs from table and host",
                      named[] = "key differs from namespace and name";
    (void)state;
    assert_null(key_fault(SITE, STR("ingress/a.test")));
    assert_string_equal(key_fault(SITE, STR("ingress/b.test")), site);
    assert_string_equal(key_fault(SITE, STR("other/a.test")), site);
    assert_string_equal(key_fault(SITE, STR("a.test")), site);
    assert_null(key_fault(CERTIFICATE, STR("shop/s")));
    assert_string_equal(key_fault(CERTIFICATE, STR("shop/t")), named);
    assert_string_equal(key_fault(CERTIFICATE, STR("shops/s")), named);
    assert_null(key_fault(AUTHORITY, STR("shop/s")));
    assert_string_equal(key_fault(AUTHORITY, STR("shop/")), named);
    assert_string_equal(key_fault(AUTHORITY, STR("")), named);
    assert_string_equal(key_fault(TICKETS, STR("shop/s")), "the ticket keys have a name");
}

static void too_many_ticket_keys(void **state)
{
    struct buf b;
    (void)state;
    buf_init(&b, 1 << 20);
    assert_int_equal(make_tickets(&b, (const uint8_t *)"ABCDEFGHI", SNAP_TICKET_KEYS_MAX + 1),
                     E_OK);
    assert_string_equal(verify_copy(&b), "too many ticket keys");
    buf_reset(&b);
    assert_int_equal(make_tickets(&b, NULL, 0), E_OK);
    assert_null(verify_copy(&b));
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_rule),
        cmocka_unit_test(good_ones),
        cmocka_unit_test(any_byte),
        cmocka_unit_test(policies),
        cmocka_unit_test(certificates_of_a_host),
        cmocka_unit_test(names_of_keys),
        cmocka_unit_test(keys),
        cmocka_unit_test(too_many_ticket_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
