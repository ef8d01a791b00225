/* TLS to endpoints, from annotations to the fields of a shard: tables of what is said, what it
 * means, and what people are told. */
#define ANNOTATIONS "proxy-ssl-"
#include "annotated.h"
#include "snapshot/snapshot.h"

#define S "secret: default/s"

static void ingress_drop(struct ingress *in)
{
    object_free(&in->object);
}

/* ---- what it means ---- */

static void meanings(void **state)
{
    static const struct {
        const char *annotations, *variant;
    } cases[] = {
        {"",                                                 "tls"                                 },
        {S,                                                  "tls,secret=s"                        },
        {S "; verify: on",                                   "tls,secret=s,verify=1"               },
        {S "; verify: off",                                  "tls,secret=s"                        },
        {S "; verify: yes",                                  "tls,secret=s,verify=1"               }, /* never off by mistake */
        {S "; verify: true",                                 "tls,secret=s,verify=1"               },
        {S "; verify: on; verify-depth: 3",                  "tls,secret=s,verify=3"               },
        {S "; verify: on; verify-depth: 100",                "tls,secret=s,verify=100"             },
        {S "; verify: on; verify-depth: 101",                "tls,secret=s,verify=1"               },
        {S "; verify: on; verify-depth: 0",                  "tls,secret=s,verify=1"               },
        {S "; verify: on; verify-depth: -1",                 "tls,secret=s,verify=1"               },
        {S "; verify-depth: 3",                              "tls,secret=s"                        }, /* of nothing */
        {S "; verify: on; name: a.example",                  "tls,secret=s,verify=1,name=a.example"},
        {S "; verify: on; name: A.Example.",                 "tls,secret=s,verify=1,name=a.example"},
        {S "; verify: on; name: 10.0.0.1",                   "tls,secret=s,verify=1,name=10.0.0.1" },
        {S "; verify: on; name: FD00::0:1",                  "tls,secret=s,verify=1,name=fd00::1"  },
        {S "; verify: on; name: a.example; server-name: on", "tls,secret=s,verify=1,sni=a.example" },
        {S "; name: a.example; server-name: on",             "tls,secret=s,sni=a.example"          },
        {S "; name: a.example; server-name: off",            "tls,secret=s"                        },
        {S "; name: a.example; server-name: a.example",      "tls,secret=s"                        },
        {S "; name: a.example",                              "tls,secret=s"                        }, /* for nothing */
        {S "; server-name: on",                              "tls,secret=s"                        },
        {S "; name: *.example; server-name: on",             "tls,secret=s"                        },
        {S "; verify: on; name: *.example",                  "tls,broken"                          },
        {S "; verify: on; name: $host",                      "tls,broken"                          },
        {S "; protocols: TLSv1.2",                           "tls,secret=s,only=12"                },
        {S "; protocols: TLSv1.3",                           "tls,secret=s,only=13"                },
        {S "; protocols: TLSv1.3  TLSv1.2",                  "tls,secret=s"                        },
        {S "; protocols: SSLv3 TLSv1 TLSv1.1 TLSv1.2",       "tls,secret=s,only=12"                },
        {S "; protocols: TLSv1 TLSv1.1",                     "tls,secret=s"                        },
        {S "; protocols: TLSv1.4 TLSv1.2",                   "tls,secret=s"                        },
        {S "; ciphers: DEFAULT",                             "tls,secret=s"                        },
        {S "; ciphers: NO-SUCH-CIPHER",                      "tls,secret=s"                        },
        {S "; ciphers: HIGH@SECLEVEL=0",                     "tls,secret=s"                        },
        {"secret: s; verify: on",                            "tls,broken"                          },
        {"secret: other/s",                                  "tls,broken"                          },
        {"secret: default/",                                 "tls,broken"                          },
        {"secret: default/a/b",                              "tls,broken"                          },
        {"secret: default/S",                                "tls,broken"                          },
        {"verify: on; name: a.example; protocols: TLSv1.2",  "tls"                                 },
    };
    struct bench *b = *state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct ingress *in = ingress_make(cases[i].annotations);
        struct upstream_tls t;
        upstream_tls_get(in, &t);
        buf_reset(&b->text);
        upstream_tls_emit_variant(&t, STR("tls"), &b->text);
        buf_add_char(&b->text, '\0');
        if (strcmp(b->text.p, cases[i].variant) != 0) {
            fail_msg("%s: %s instead of %s", cases[i].annotations, b->text.p, cases[i].variant);
        }
        assert_true(strchr(b->text.p, '/') == NULL);
        ingress_drop(in);
    }
}

static void ciphers_tell_variants_apart(void **state)
{
    struct bench *b = *state;
    const char *texts[] = {S "; ciphers: HIGH", S "; ciphers: HIGH:!aNULL",
                           S "; ciphers: ECDHE-ECDSA-AES128-GCM-SHA256"};
    char variants[3][100];
    for (size_t i = 0; i < 3; i++) {
        struct ingress *in = ingress_make(texts[i]);
        struct upstream_tls t;
        upstream_tls_get(in, &t);
        assert_true(t.ciphers.n > 0);
        buf_reset(&b->text);
        upstream_tls_emit_variant(&t, STR("tls"), &b->text);
        assert_true(str_has_prefix(buf_str(&b->text), STR("tls,secret=s,ciphers=")));
        assert_true(str_to_cstr(buf_str(&b->text), variants[i], sizeof(variants[i])));
        for (size_t k = 0; k < i; k++) {
            assert_string_not_equal(variants[k], variants[i]);
        }
        ingress_drop(in);
    }
}

/* ---- what people are told ---- */

static void note(void *arg, const struct diag *d)
{
    struct bench *b = arg;
    static const char prefix[] = "metadata.annotations[nginx.ingress.kubernetes.io/proxy-ssl-";
    assert_true(d->why.n > 0 && d->mend.n > 0 && d->what.n > 0);
    assert_true(str_has_prefix(d->field, STR(prefix)));
    struct str name = str_from(d->field, sizeof(prefix) - 1);
    buf_addf(&b->text, "%s%s %.*s", b->text.n > 0 ? ", " : "",
             d->severity == DIAG_ERROR ? "error" : "warning", STR_ARG(str_first(name, name.n - 1)));
}

static void findings(void **state)
{
    static const struct {
        const char *annotations;
        bool speaks_tls;
        const char *told;
    } cases[] = {
        {"",                                            true,  ""                                   },
        {S,                                             true,  ""                                   },
        {S "; verify: on; verify-depth: 2; name: a.example; server-name: on; protocols: TLSv1.2 "
           "TLSv1.3; ciphers: HIGH",           true,  ""                                   },
        {S "; verify: off",                             true,  ""                                   },
        {S,                                             false, "warning secret"                     },
        {S "; verify: maybe",                           false, "warning secret"                     },
        {"verify: on",                                  true,  "warning verify"                     },
        {"verify: on; server-name: on",                 false, "warning server-name, warning verify"},
        {"secret: s",                                   true,  "error secret"                       },
        {"secret: other/s",                             true,  "error secret"                       },
        {S "; verify: maybe; name: a",                  true,  "error verify"                       },
        {S "; verify: on",                              true,  "warning verify"                     }, /* for no name */
        {S "; verify-depth: 0",                         true,  "warning verify-depth"               },
        {S "; name: a b",                               true,  "error name"                         },
        {S "; server-name: on",                         true,  "warning server-name"                },
        {S "; server-name: a.example",                  true,  "warning server-name"                },
        {S "; server-name: a.example; name: a.example", true,  "warning server-name"                },
        {S "; protocols: TLSv1.4",                      true,  "warning protocols"                  },
        {S "; protocols: TLSv1.1",                      true,  "warning protocols"                  },
        {S "; protocols: TLSv1.1 TLSv1.2",              true,  "warning protocols"                  },
        {S "; ciphers: nonsense",                       true,  "error ciphers"                      },
        {S "; ciphers: HIGH@SECLEVEL=0",                true,  "error ciphers"                      },
        {S "; ciphers: DEFAULT",                        true,  ""                                   },
    };
    struct bench *b = *state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct ingress *in = ingress_make(cases[i].annotations);
        struct diag_batch batch;
        diag_batch_init(&batch);
        upstream_tls_check(b->compile, &batch, in, cases[i].speaks_tls);
        assert_int_equal(batch.err, E_OK);
        buf_reset(&b->text);
        diag_batch_tell(&batch, note, b);
        buf_add_char(&b->text, '\0');
        if (strcmp(b->text.p, cases[i].told) != 0) {
            fail_msg("%s: \"%s\" instead of \"%s\"", cases[i].annotations, b->text.p,
                     cases[i].told);
        }
        diag_batch_drop(&batch);
        ingress_drop(in);
    }
}

/* ---- with the Secret ---- */

static void what_a_secret_lacks(void **state)
{
    static const struct {
        const char *annotations;
        struct upstream_tls_secret secret;
        enum upstream_tls_lack lack;
    } cases[] = {
        {"",               {false, false, false, false}, UPSTREAM_TLS_NOTHING    },
        {"secret: wrong",  {false, false, false, false}, UPSTREAM_TLS_NOTHING    },
        {S,                {false, false, false, false}, UPSTREAM_TLS_SECRET     },
        {S,                {true, false, false, false},  UPSTREAM_TLS_NOTHING    },
        {S,                {true, false, true, false},   UPSTREAM_TLS_NOTHING    },
        {S,                {true, true, false, true},    UPSTREAM_TLS_CERTIFICATE},
        {S "; verify: on", {true, false, true, false},   UPSTREAM_TLS_AUTHORITY  },
        {S "; verify: on", {true, true, false, false},   UPSTREAM_TLS_NOTHING    },
        {S "; verify: on", {true, true, true, false},    UPSTREAM_TLS_NOTHING    },
    };
    struct bench *b = *state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct ingress *in = ingress_make(cases[i].annotations);
        struct upstream_tls t;
        upstream_tls_get(in, &t);
        assert_int_equal(upstream_tls_lacks(&t, &cases[i].secret), cases[i].lack);
        if (cases[i].lack != UPSTREAM_TLS_NOTHING) {
            struct diag_batch batch;
            diag_batch_init(&batch);
            upstream_tls_tell_lack(b->compile, &batch, in, &t, cases[i].lack);
            buf_reset(&b->text);
            diag_batch_tell(&batch, note, b);
            assert_true(str_eq(buf_str(&b->text), STR("error secret")));
            diag_batch_drop(&batch);
        }
        ingress_drop(in);
    }
}

/* A shard as it would be written, which the verifier takes. */
static void shards(void **state)
{
    static const struct {
        const char *annotations;
        struct upstream_tls_secret secret;
        const char *authority, *certificate, *name;
        bool is_verified, is_broken, sends_name;
        uint8_t min_version, max_version;
    } cases[] = {
        {"",                                                                     {0},                        "", "",          "", false, false, false, 0, 0 },
        {S "; verify: on; name: a.example; server-name: on; protocols: TLSv1.3",
         {true, true, true, false},
         "default/s",                                                                                            "default/s",
         "a.example",                                                                                                             true,
         false,                                                                                                                                 true,
         13,                                                                                                                                              0 },
        {S "; protocols: TLSv1.2",
         {true, true, false, false},
         "",                                                                                                     "",
         "",                                                                                                                      false,
         false,                                                                                                                                 false,
         0,                                                                                                                                               12},
        {S,                                                                      {true, false, true, false}, "", "default/s", "", false, false, false, 0, 0 },
        {S "; verify: on",
         {true, false, false, false},
         "default/s",                                                                                            "",
         "",                                                                                                                      true,
         true,                                                                                                                                  false,
         0,                                                                                                                                               0 },
        {"secret: other/s",                                                      {true, true, true, false},  "", "",          "", false, true,  false, 0, 0 },
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct ingress *in = ingress_make(cases[i].annotations);
        struct upstream_tls t;
        struct upstream_tls_texts texts;
        struct buf shard, segment, variant, key;
        buf_init(&shard, 1 << 20);
        buf_init(&segment, 1 << 20);
        buf_init(&variant, 1 << 20);
        buf_init(&key, 1 << 20);
        upstream_tls_get(in, &t);
        upstream_tls_emit_variant(&t, STR("tls"), &variant);
        buf_addf(&key, "default/web/80/%.*s", STR_ARG(buf_str(&variant)));
        snap_shard_begin(&shard, SNAP_SERVICE, sizeof(struct snap_service), buf_str(&key));
        struct snap_str parts[] = {
            snap_add_str(&shard, STR("default")), snap_add_str(&shard, STR("web")),
            snap_add_str(&shard, STR("80")), snap_add_str(&shard, buf_str(&variant))};
        upstream_tls_add(&shard, &t, &cases[i].secret, &texts);
        struct snap_array none = snap_add_array(&shard, 0, sizeof(struct snap_endpoint));
        assert_false(shard.bad);
        struct snap_service *root = snap_at(&shard, 0, struct snap_service);
        root->namespace_name = parts[0];
        root->name = parts[1];
        root->port = parts[2];
        root->variant = parts[3];
        root->status = SNAP_SERVICE_OK;
        root->protocol = SNAP_HTTP1;
        root->endpoints = none;
        upstream_tls_fill(root, &t, upstream_tls_lacks(&t, &cases[i].secret), &texts, 7);
        assert_int_equal(snap_shard_end(&shard), E_OK);
        const struct snap_shard *list[] = {snap_at(&shard, 0, struct snap_shard)};
        assert_int_equal(snapshot_segment_write(&segment, list, 1, 0, 1), E_OK);
        struct snapshot_segment *mapped;
        struct snapshot_fault fault = {0};
        assert_int_equal(snapshot_segment_borrow(segment.p, segment.n, &mapped, &fault), E_OK);
        if (snapshot_segment_verify(mapped, SIZE_MAX, &fault) != E_OK) {
            fail_msg("%s: %s", cases[i].annotations, fault.what);
        }
        const struct snap_service *s =
            (const struct snap_service *)(const void *)snapshot_segment_shard(mapped, 0);
        assert_true(s->is_tls == 1 && s->stamp == 7);
        assert_int_equal(s->is_verified, cases[i].is_verified);
        assert_int_equal(s->is_broken, cases[i].is_broken);
        assert_int_equal(s->sends_name, cases[i].sends_name);
        assert_int_equal(s->min_version, cases[i].min_version);
        assert_int_equal(s->max_version, cases[i].max_version);
        assert_true(str_eq(snap_str_get(s, s->authority), str_from_cstr(cases[i].authority)));
        assert_true(str_eq(snap_str_get(s, s->certificate), str_from_cstr(cases[i].certificate)));
        assert_true(str_eq(snap_str_get(s, s->tls_name), str_from_cstr(cases[i].name)));
        snapshot_segment_unref(mapped);
        buf_fini(&shard);
        buf_fini(&segment);
        buf_fini(&variant);
        buf_fini(&key);
        ingress_drop(in);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(meanings), TEST(ciphers_tell_variants_apart),
        TEST(findings), TEST(what_a_secret_lacks),
        TEST(shards),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
