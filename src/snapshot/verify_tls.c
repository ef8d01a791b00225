/* What handshakes are answered with: hosts, certificates, authorities, and the secrets. The bytes
 * of certificates and keys are checked by whoever decodes them. */
#include "base/hash.h"
#include "snapshot/verify_priv.h"

static const struct verify_field text_fields[] = {
    {FIELD_STR, 0, 0, NULL},
};

static const struct verify_layout layout_text = {sizeof(struct snap_str), FIELDS(text_fields),
                                                 NULL};

/* Key, namespace and name of a Secret. */
static bool check_secret(struct verify *c, struct snap_str namespace_name, struct snap_str name)
{
    const struct snap_shard *shard = verify_at(c, 0);
    struct str parts[] = {verify_text(c, namespace_name), verify_text(c, name)};
    return verify_is_joined(verify_text(c, shard->key), parts, 2) ||
           verify_fail(c, "key differs from namespace and name");
}

/* ---- hosts ---- */

static bool check_named(struct verify *c, const void *items, uint32_t i)
{
    const struct snap_named *n = (const struct snap_named *)items + i;
    return n->key.n == 0 ? verify_fail(c, "a certificate without a name")
                         : verify_named(c, n->key, n->hash);
}

static const struct verify_layout layout_named = {sizeof(struct snap_named), FIELDS(text_fields),
                                                  check_named};

static bool check_client(struct verify *c, const struct snap_tls_host *h)
{
    bool is_plain = h->verify == SNAP_VERIFY_OFF && !h->is_denied && !h->passes_certificate &&
                    h->authority.key.n == 0 && h->name_pattern.n == 0 && h->error_page.n == 0;
    return (h->policy == 0) == is_plain ||
           verify_fail(c, "policy of nothing, or none of something");
}

static bool check_tls_host(struct verify *c, const void *items, uint32_t i)
{
    const struct snap_tls_host *h = (const struct snap_tls_host *)items + i;
    struct str parts[] = {verify_text(c, h->table), verify_text(c, h->host)};
    if (!verify_table(c, parts[0]) || !verify_pattern(c, h->kind, parts[1])) {
        return false;
    }
    if (!verify_is_joined(verify_text(c, h->shard.key), parts, 2)) {
        return verify_fail(c, "key differs from table and host");
    }
    if (h->certificates.n > SNAP_TLS_CERTIFICATES_MAX) {
        return verify_fail(c, "too many certificates for one host");
    }
    return check_client(c, h) && verify_named(c, h->authority.key, h->authority.hash) &&
           verify_named(c, h->passthrough.key, h->passthrough.hash);
}

static const struct verify_field tls_host_fields[] = {
    STR_AT(struct snap_tls_host, table),
    STR_AT(struct snap_tls_host, host),
    {FIELD_ENUM8, offsetof(struct snap_tls_host, kind),               SNAP_HOST_ANY,              NULL         },
    {FIELD_UPTO8, offsetof(struct snap_tls_host, verify),             SNAP_VERIFY_OPTIONAL_NO_CA, NULL         },
    {FIELD_BOOL8, offsetof(struct snap_tls_host, is_denied),          0,                          NULL         },
    {FIELD_BOOL8, offsetof(struct snap_tls_host, passes_certificate), 0,                          NULL         },
    ZERO_AT(struct snap_tls_host, zero),
    STR_AT(struct snap_tls_host, authority.key),
    STR_AT(struct snap_tls_host, name_pattern),
    STR_AT(struct snap_tls_host, error_page),
    STR_AT(struct snap_tls_host, passthrough.key),
    {FIELD_ARRAY, offsetof(struct snap_tls_host, certificates),       0,                          &layout_named},
};

const struct verify_layout verify_layout_tls_host = {sizeof(struct snap_tls_host),
                                                     FIELDS(tls_host_fields), check_tls_host};

/* ---- certificates ---- */

enum { KEY_NAME_BYTES = 64 };

static bool is_key_name(struct str name)
{
    for (size_t i = 0; i < name.n; i++) {
        bool is_digit =
            (name.p[i] >= '0' && name.p[i] <= '9') || (name.p[i] >= 'a' && name.p[i] <= 'f');
        if (!is_digit) {
            return false;
        }
    }
    return name.n == KEY_NAME_BYTES;
}

static bool check_certificate(struct verify *c, const void *items, uint32_t i)
{
    const struct snap_certificate *cert = (const struct snap_certificate *)items + i;
    if (!is_key_name(verify_text(c, cert->key_name))) {
        return verify_fail(c, "name of a key is no hash");
    }
    if (cert->chain.n == 0) {
        return verify_fail(c, "chain without a certificate");
    }
    return verify_named(c, cert->key_name, cert->key_hash) &&
           check_secret(c, cert->namespace_name, cert->name);
}

static const struct verify_field certificate_fields[] = {
    STR_AT(struct snap_certificate, namespace_name),
    STR_AT(struct snap_certificate, name),
    STR_AT(struct snap_certificate, key_name),
    {FIELD_ENUM8, offsetof(struct snap_certificate, key_kind), SNAP_KEY_ED448, NULL        },
    ZERO_AT(struct snap_certificate, zero),
    {FIELD_ARRAY, offsetof(struct snap_certificate, chain),    0,              &layout_text},
    {FIELD_ARRAY, offsetof(struct snap_certificate, names),    0,              &layout_text},
};

const struct verify_layout verify_layout_certificate = {
    sizeof(struct snap_certificate), FIELDS(certificate_fields), check_certificate};

static bool check_authority(struct verify *c, const void *items, uint32_t i)
{
    const struct snap_authority *a = (const struct snap_authority *)items + i;
    return check_secret(c, a->namespace_name, a->name);
}

static const struct verify_field authority_fields[] = {
    STR_AT(struct snap_authority, namespace_name),
    STR_AT(struct snap_authority, name),
    {FIELD_ARRAY, offsetof(struct snap_authority, certificates), 0, &layout_text},
    {FIELD_ARRAY, offsetof(struct snap_authority, revocations),  0, &layout_text},
};

const struct verify_layout verify_layout_authority = {sizeof(struct snap_authority),
                                                      FIELDS(authority_fields), check_authority};

static const struct verify_field staple_fields[] = {
    STR_AT(struct snap_staple, response),
};

const struct verify_layout verify_layout_staple = {sizeof(struct snap_staple),
                                                   FIELDS(staple_fields), NULL};

/* ---- secrets ---- */

static bool check_key(struct verify *c, const void *items, uint32_t i)
{
    const struct snap_key *k = (const struct snap_key *)items + i;
    return is_key_name(verify_text(c, k->shard.key)) || verify_fail(c, "name of a key is no hash");
}

static const struct verify_field key_fields[] = {
    STR_AT(struct snap_key, key),
};

const struct verify_layout verify_layout_key = {sizeof(struct snap_key), FIELDS(key_fields),
                                                check_key};

static bool check_tickets(struct verify *c, const void *items, uint32_t i)
{
    const struct snap_tickets *t = (const struct snap_tickets *)items + i;
    if (t->keys.n > SNAP_TICKET_KEYS_MAX) {
        return verify_fail(c, "too many ticket keys");
    }
    return t->shard.key.n == 0 || verify_fail(c, "the ticket keys have a name");
}

static const struct verify_layout layout_ticket_key = {sizeof(struct snap_ticket_key), NULL, 0,
                                                       NULL};

static const struct verify_field tickets_fields[] = {
    {FIELD_ARRAY, offsetof(struct snap_tickets, keys), 0, &layout_ticket_key},
};

const struct verify_layout verify_layout_tickets = {sizeof(struct snap_tickets),
                                                    FIELDS(tickets_fields), check_tickets};
