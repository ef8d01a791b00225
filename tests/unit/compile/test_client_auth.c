/* ingress-nginx' annotations about certificates of clients: what each text means, and what people
 * are told of it. Nothing that is misspelt opens a door. */
#define ANNOTATIONS "auth-tls-"
#include "annotated.h"
#include "base/limits.h"

#define S "secret: default/ca"

/* ---- what it means ---- */

/* As text: "on 1 default/ca", "denied"; "-": nobody is asked. */
static void meaning(const struct ingress *in, struct buf *out)
{
    static const char *const words[] = {"off", "on", "optional", "optional_no_ca"};
    struct client_auth a;
    buf_reset(out);
    if (!client_auth_get(in, &a)) {
        buf_addf(out, "-");
    } else if (a.is_denied) {
        buf_addf(out, "denied");
    } else {
        buf_addf(out, "%s %u %.*s/%.*s%s", words[a.verify], a.depth, STR_ARG(a.namespace_name),
                 STR_ARG(a.name), a.passes_certificate ? " passes" : "");
        if (a.name_pattern.n > 0) {
            buf_addf(out, " name %.*s", STR_ARG(a.name_pattern));
        }
        if (a.error_page.n > 0) {
            buf_addf(out, " page %.*s", STR_ARG(a.error_page));
        }
    }
    buf_add_char(out, '\0');
}

static void meanings(void **state)
{
    static const struct {
        const char *annotations, *meaning;
    } cases[] = {
        {"",                                        "-"                                        },
        {"verify-client: on",                       "-"                                        }, /* by whom? */
        {S,                                         "on 1 default/ca"                          },
        {S "; verify-client: on",                   "on 1 default/ca"                          },
        {S "; verify-client: off",                  "-"                                        },
        {S "; verify-client: optional",             "optional 1 default/ca"                    },
        {S "; verify-client: optional_no_ca",       "optional_no_ca 1 default/ca"              },
        {S "; verify-client: Off",                  "denied"                                   },
        {S "; verify-client: false",                "denied"                                   },
        {S "; verify-client: yes",                  "denied"                                   },
        {"secret: ca",                              "denied"                                   },
        {"secret: other/ca",                        "denied"                                   }, /* of somebody else's namespace */
        {"secret: /ca",                             "denied"                                   },
        {"secret: default/",                        "denied"                                   },
        {"secret: default/a/b",                     "denied"                                   },
        {"secret: default/CA",                      "denied"                                   },
        {"secret: default/ca ; verify-client: off", "-"                                        },
        {"secret: other/ca; verify-client: off",    "denied"                                   }, /* one of them is wrong */
        {S "; verify-depth: 0",                     "on 0 default/ca"                          },
        {S "; verify-depth: 3",                     "on 3 default/ca"                          },
        {S "; verify-depth: 100",                   "on 100 default/ca"                        },
        {S "; verify-depth: 101",                   "on 1 default/ca"                          },
        {S "; verify-depth: -1",                    "on 1 default/ca"                          },
        {S "; verify-depth: 1x",                    "on 1 default/ca"                          },
        {S "; pass-certificate-to-upstream: true",  "on 1 default/ca passes"                   },
        {S "; pass-certificate-to-upstream: false", "on 1 default/ca"                          },
        {S "; pass-certificate-to-upstream: maybe", "on 1 default/ca"                          },
        {S "; match-cn: CN=alice",                  "on 1 default/ca name CN=alice"            },
        {S "; match-cn: CN=(a|b)",                  "on 1 default/ca name CN=(a|b)"            },
        {S "; match-cn: alice",                     "denied"                                   },
        {S "; match-cn: cn=alice",                  "denied"                                   },
        {S "; match-cn: CN=(",                      "denied"                                   },
        {S "; match-cn: CN=[z-a]",                  "denied"                                   },
        {S "; error-page: http://a.test",           "on 1 default/ca page http://a.test"       },
        {S "; error-page: https://a.test/x?y=z",    "on 1 default/ca page https://a.test/x?y=z"},
        {S "; error-page: /x",                      "on 1 default/ca"                          },
        {S "; error-page: a.test",                  "on 1 default/ca"                          },
        {S "; error-page: ftp://a.test/",           "on 1 default/ca"                          },
        {S "; error-page: https:///x",              "on 1 default/ca"                          },
        {S "; error-page: https://a.test/$host",    "on 1 default/ca"                          },
        {S "; error-page: https://a.test/#x",       "on 1 default/ca"                          },
        {S "; error-page: https://a.test/a b",      "on 1 default/ca"                          },
    };
    struct bench *b = *state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct ingress *in = ingress_make(cases[i].annotations);
        meaning(in, &b->text);
        if (strcmp(b->text.p, cases[i].meaning) != 0) {
            fail_msg("%s: %s instead of %s", cases[i].annotations, b->text.p, cases[i].meaning);
        }
        object_free(&in->object);
    }
}

/* As long as they may be, and one byte more. */
static void long_values(void **state)
{
    static char text[8192];
    struct bench *b = *state;
    for (int more = 0; more < 2; more++) {
        memset(text, 'a', sizeof(text));
        int n = snprintf(text, sizeof(text), S "; match-cn: CN=");
        text[n] = 'a';
        text[n + 4096 - 3 + more] = '\0'; /* REGEX_PATTERN_BYTES_MAX with CN= */
        struct ingress *in = ingress_make(text);
        meaning(in, &b->text);
        assert_int_equal(strcmp(b->text.p, "denied") == 0, more);
        object_free(&in->object);
        memset(text, 'a', sizeof(text));
        n = snprintf(text, sizeof(text), S "; error-page: https://a.test/");
        text[n] = 'a';
        text[n + REDIRECT_BYTES_MAX - 15 + more] = '\0';
        in = ingress_make(text);
        meaning(in, &b->text);
        assert_int_equal(strstr(b->text.p, " page ") == NULL, more);
        object_free(&in->object);
    }
}

/* ---- what people are told ---- */

static void note(void *arg, const struct diag *d)
{
    struct bench *b = arg;
    static const char prefix[] = "metadata.annotations[nginx.ingress.kubernetes.io/auth-tls-";
    assert_true(d->why.n > 0 && d->mend.n > 0 && d->what.n > 0);
    assert_true(str_has_prefix(d->field, STR(prefix)));
    struct str name = str_from(d->field, sizeof(prefix) - 1);
    buf_addf(&b->text, "%s%s %.*s", b->text.n > 0 ? ", " : "",
             d->severity == DIAG_ERROR ? "error" : "warning", STR_ARG(str_first(name, name.n - 1)));
}

/* Whatever denies access is an error. */
static void findings(void **state)
{
    static const struct {
        const char *annotations, *told;
    } cases[] = {
        {"",                                            ""                                  },
        {S,                                             ""                                  },
        {S
         "; verify-client: optional; verify-depth: 2; match-cn: CN=a; error-page: http://a.test/; "
         "pass-certificate-to-upstream: true", ""                                  },
        {"verify-client: on",                           "warning verify-client"             },
        {"verify-client: off",                          ""                                  },
        {"secret: ca",                                  "error secret"                      },
        {"secret: other/ca",                            "error secret"                      },
        {S "; verify-client: yes",                      "error verify-client"               },
        {S "; verify-depth: 101",                       "warning verify-depth"              },
        {S "; match-cn: alice",                         "error match-cn"                    },
        {S "; match-cn: CN=(",                          "error match-cn"                    },
        {S "; error-page: /x",                          "warning error-page"                },
        {S "; pass-certificate-to-upstream: maybe",     "error pass-certificate-to-upstream"},
    };
    struct bench *b = *state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct ingress *in = ingress_make(cases[i].annotations);
        struct diag_batch batch;
        diag_batch_init(&batch);
        client_auth_check(b->compile, &batch, in);
        assert_int_equal(batch.err, E_OK);
        buf_reset(&b->text);
        diag_batch_tell(&batch, note, b);
        buf_add_char(&b->text, '\0');
        if (strcmp(b->text.p, cases[i].told) != 0) {
            fail_msg("%s: \"%s\" instead of \"%s\"", cases[i].annotations, b->text.p,
                     cases[i].told);
        }
        diag_batch_drop(&batch);
        object_free(&in->object);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(meanings),
        TEST(long_values),
        TEST(findings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
