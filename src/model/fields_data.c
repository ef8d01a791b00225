/* Field tables of Secret and ConfigMap. Source: core/v1 and its validation in the API server.
 * stringData wins over data, as in the API server; binaryData of a ConfigMap is not used. */
#include "model/decode_priv.h"

#include "base/mem.h"

struct secret_reading {
    struct secret secret;
    struct data_item *text;
    uint32_t text_n;
};

static const struct complaint no_tls_item = {DIAG_ERROR, DIAG_MissingField, NULL,
                                             "a Secret of type kubernetes.io/tls has tls.crt and "
                                             "tls.key in its data",
                                             NULL};

/* Two sorted lists into one; of equal keys the text wins. */
static enum err data_merge(struct decoder *d, struct secret_reading *r)
{
    struct secret *s = &r->secret;
    if (r->text_n == 0) {
        return E_OK;
    }
    void *memory;
    TRY(decode_calloc(d, (size_t)s->data_n + r->text_n, sizeof(struct data_item), &memory));
    struct data_item *items = memory;
    uint32_t n = 0, i = 0, j = 0;
    while (i < s->data_n || j < r->text_n) {
        int order = i == s->data_n   ? 1
                    : j == r->text_n ? -1
                                     : str_cmp(s->data[i].key, r->text[j].key);
        items[n++] = order < 0 ? s->data[i] : r->text[j];
        i += order <= 0;
        j += order >= 0;
    }
    s->data = items;
    s->data_n = n;
    return E_OK;
}

static bool has_item(const struct secret *s, struct str key)
{
    for (uint32_t i = 0; i < s->data_n; i++) {
        if (str_eq(s->data[i].key, key)) {
            return true;
        }
    }
    return false;
}

static void check_tls_item(struct decoder *d, const struct place *at, const struct secret *s,
                           struct str key)
{
    if (!has_item(s, key)) {
        struct place data = decode_child(at, STR("data"));
        struct place item = {.up = &data, .type = PLACE_KEY, .name = key};
        decode_complain(d, &item, &no_tls_item);
    }
}

static enum err check_secret(struct decoder *d, const struct place *at, void *base)
{
    struct secret_reading *r = base;
    TRY(data_merge(d, r));
    if (r->secret.type.n == 0) {
        r->secret.type = STR("Opaque");
    }
    if (str_eq(r->secret.type, STR("kubernetes.io/tls"))) {
        check_tls_item(d, at, &r->secret, STR("tls.crt"));
        check_tls_item(d, at, &r->secret, STR("tls.key"));
    }
    return E_OK;
}

static const struct field secret_fields[] = {
    METADATA_FIELD,
    {.name = STR_INIT("type"), .type = FIELD_STRING, .offset = offsetof(struct secret, type)},
    { .name = STR_INIT("data"),
      .type = FIELD_DATA,
      .offset = offsetof(struct secret,                                      data),
      .n_offset = offsetof(struct secret, data_n),
      .map_key = &rule_data_key},
    {                                                               .name = STR_INIT("stringData"),
      .type = FIELD_TEXT_DATA,
      .offset = offsetof(struct secret_reading,                              text),
      .n_offset = offsetof(struct secret_reading, text_n),
      .map_key = &rule_data_key},
};
static const struct schema schema_secret = {FIELDS(secret_fields), .check = check_secret};

const struct schema schema_secret_content = {.fields = secret_fields + 1, .field_n = 2};

const struct decode_kind kind_secret = {
    .api_version = STR_INIT("v1"),
    .kind = STR_INIT("Secret"),
    .object_kind = OBJECT_SECRET,
    .size = sizeof(struct secret_reading),
    .root = &schema_secret,
    .name_rule = &rule_subdomain,
    .hides_values = true,
};

static const struct field config_map_fields[] = {
    METADATA_FIELD,
    {.name = STR_INIT("data"),
      .type = FIELD_STRING_MAP,
      .offset = offsetof(struct config_map, data),
      .map_key = &rule_data_key},
};
static const struct schema schema_config_map = {FIELDS(config_map_fields)};

const struct decode_kind kind_config_map = {
    .api_version = STR_INIT("v1"),
    .kind = STR_INIT("ConfigMap"),
    .object_kind = OBJECT_CONFIG_MAP,
    .size = sizeof(struct config_map),
    .root = &schema_config_map,
    .name_rule = &rule_subdomain,
};
