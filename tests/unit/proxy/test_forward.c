/* What endpoints are told of a client's certificate, and that nobody but us tells it. The other
 * fields are in test_exchange.c. */
#include "proxy/forward.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "event/transport.h"

enum { FIELDS_MAX = 64 };

static bool is_believed; /* whoever the request comes from */

static uint32_t forward(const struct transport_client *certificate, const struct field *fields,
                        uint32_t n, struct field *out)
{
    static struct forward_text text;
    static const struct http_peer peer = {.ip = {.family = 4}};
    const struct http_request r = {.authority = STR("a.test"),
                                   .fields = fields,
                                   .field_n = n,
                                   .method = STR("GET"),
                                   .upgrade = STR_EMPTY,
                                   .peer = &peer};
    const struct forward_origin origin = {.client = {.family = 4},
                                          .scheme = STR("https"),
                                          .is_believed = is_believed,
                                          .host = STR("a.test"),
                                          .port = STR_EMPTY,
                                          .forwarded_for = STR_EMPTY,
                                          .certificate = certificate};
    uint32_t out_n = forward_request_fields(&r, &origin, NULL, STR("id"), &text, out);
    assert_true(out_n <= n + FORWARD_ADDED_MAX);
    return out_n;
}

/* The only value of that name; NULL: there is none. */
static const char *value_of(const struct field *fields, uint32_t n, const char *name)
{
    static char text[256];
    const char *found = NULL;
    for (uint32_t i = 0; i < n; i++) {
        if (str_eq_nocase(fields[i].name, str_from_cstr(name))) {
            assert_null(found);
            assert_true(str_to_cstr(fields[i].value, text, sizeof(text)));
            found = text;
        }
    }
    return found;
}

static void check(const struct field *fields, uint32_t n, const char *name, const char *want)
{
    const char *got = value_of(fields, n, name);
    if (want == NULL ? got != NULL : got == NULL || strcmp(got, want) != 0) {
        fail_msg("%s: %s instead of %s", name, got, want);
    }
}

static void what_a_client_has_shown(void **state)
{
    static const struct {
        struct transport_client client;
        const char *verify, *subject, *issuer, *certificate;
    } cases[] = {
        {{.verdict = STR_INIT("NONE")},             "NONE", NULL,       NULL, NULL },
        {{.has_certificate = true,
          .is_verified = true,
          .verdict = STR_INIT("SUCCESS"),
          .subject = STR_INIT("CN=alice"),
          .issuer = STR_INIT("CN=root")},
         "SUCCESS",                                         "CN=alice",
         "CN=root",                                                           NULL },
        {{.has_certificate = true,
          .verdict = STR_INIT("FAILED:expired"),
          .subject = STR_INIT(""),
          .issuer = STR_INIT("CN=root"),
          .certificate = STR_INIT("%2D")},
         "FAILED:expired",                                  "",
         "CN=root",                                                           "%2D"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct field out[FIELDS_MAX];
        uint32_t n = forward(&cases[i].client, NULL, 0, out);
        check(out, n, "ssl-client-verify", cases[i].verify);
        check(out, n, "ssl-client-subject-dn", cases[i].subject);
        check(out, n, "ssl-client-issuer-dn", cases[i].issuer);
        check(out, n, "ssl-client-cert", cases[i].certificate);
    }
}

/* However they are written, as CGI and its heirs fold names. */
static void claims_of_the_request(void **state)
{
    static const char *const claims[] = {"ssl-client-verify",    "SSL-Client-Verify",
                                         "ssl_client_verify",    "Ssl-Client_Subject-Dn",
                                         "ssl-client-issuer-dn", "ssl-client-cert",
                                         "ssl-client-anything"},
                             *const others[] = {"ssl-client", "x-ssl-client-verify",
                                                "sslclient-verify", "ssl-clientverify",
                                                "ssl-server-verify"};
    enum {
        CLAIMS = sizeof(claims) / sizeof(claims[0]),
        OTHERS = sizeof(others) / sizeof(others[0])
    };
    static const struct transport_client nobody = {.verdict = STR_INIT("NONE")};
    struct field in[CLAIMS + OTHERS], out[FIELDS_MAX];
    (void)state;
    for (size_t i = 0; i < CLAIMS + OTHERS; i++) {
        in[i] = (struct field){.name = str_from_cstr(i < CLAIMS ? claims[i] : others[i - CLAIMS]),
                               .value = STR("SUCCESS"),
                               .id = FIELD_OTHER};
    }
    uint32_t n = forward(&nobody, in, CLAIMS + OTHERS, out);
    for (uint32_t i = 0; i < n; i++) {
        bool is_claim = str_eq(out[i].value, STR("SUCCESS"));
        for (size_t k = 0; k < CLAIMS && is_claim; k++) {
            assert_false(str_eq(out[i].name, str_from_cstr(claims[k])));
        }
    }
    for (size_t i = 0; i < OTHERS; i++) {
        check(out, n, others[i], "SUCCESS");
    }
    check(out, n, "ssl-client-verify", "NONE");
    n = forward(NULL, in + CLAIMS - 1, 1, out); /* where the host does not ask */
    check(out, n, "ssl-client-anything", NULL);
    is_believed = true; /* a trusted proxy may have asked */
    n = forward(NULL, in + CLAIMS - 1, 1, out);
    check(out, n, "ssl-client-anything", "SUCCESS");
    n = forward(&nobody, in + CLAIMS - 1, 1, out);
    check(out, n, "ssl-client-anything", NULL);
    is_believed = false;
}

/* Some take the fields behind a body for those of the head: RFC 9110 section 6.5.1. */
static void claims_behind_the_body(void **state)
{
    const struct field in[] = {
        {.name = STR("x-checksum"),        .value = STR("1"), .id = FIELD_OTHER},
        {.name = STR("ssl-client-verify"), .value = STR("1"), .id = FIELD_OTHER},
        {.name = STR("SSL_Client_Cert"),   .value = STR("1"), .id = FIELD_OTHER},
    };
    const struct http_trailers trailers = {in, 3};
    struct field out[3];
    (void)state;
    struct http_trailers got = forward_trailers(&trailers, out);
    assert_int_equal(got.n, 1);
    assert_true(str_eq(got.fields[0].name, STR("x-checksum")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_client_has_shown),
        cmocka_unit_test(claims_of_the_request),
        cmocka_unit_test(claims_behind_the_body),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
