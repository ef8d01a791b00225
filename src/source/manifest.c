/* From a file's bytes to objects: picks the reader, opens lists, finds the decoder. */
#include "source/manifest.h"

#include "document/json.h"
#include "document/yaml.h"

struct manifest {
    struct str file;
    manifest_object_fn *on_object;
    diag_fn *on_diag;
    void *arg;
};

/* What an item of a typed list is when it does not say so itself. */
struct inherited {
    struct str api_version, kind;
};

static void on_diag(void *arg, const struct diag *part)
{
    const struct manifest *m = arg;
    struct diag diag = *part;
    diag.file = m->file;
    m->on_diag(m->arg, &diag);
}

static void complain(const struct manifest *m, const struct tree_node *root,
                     const struct diag *part)
{
    const struct tree_node *metadata = tree_get(root, STR("metadata"));
    struct diag diag = *part;
    diag.file = m->file;
    diag.line = diag.line > 0 ? diag.line : root->line;
    diag.kind = tree_get_string(root, STR("kind"));
    diag.namespace_name = tree_get_string(metadata, STR("namespace"));
    diag.name = tree_get_string(metadata, STR("name"));
    m->on_diag(m->arg, &diag);
}

/* False when the field is missing, without an inherited value, or no string. */
static bool type_field(const struct manifest *m, const struct tree_node *root, struct str name,
                       struct str inherited, struct str *ret)
{
    const struct tree_node *node = tree_get(root, name);
    if (node == NULL && inherited.n > 0) {
        *ret = inherited;
        return true;
    }
    struct diag diag = {.severity = DIAG_ERROR, .field = name};
    if (node == NULL) {
        diag.reason = DIAG_MissingField;
        diag.what = STR("is missing");
        diag.why = STR("every object says its apiVersion and kind");
    } else if (node->kind != TREE_STRING || node->n == 0) {
        diag.reason = DIAG_WrongType;
        diag.line = node->line;
        diag.what = STR("is not a name");
        diag.why = STR("the API wants a string here");
    } else {
        *ret = tree_text(node);
        return true;
    }
    complain(m, root, &diag);
    return false;
}

static enum err take_object(const struct manifest *m, const struct decode_kind *kind,
                            const struct tree_node *root)
{
    struct object *o = NULL;
    struct decode_source source = {m->file, m->on_diag, m->arg};
    TRY(decode_object(kind, root, &source, &o));
    if (o != NULL) {
        m->on_object(m->arg, o);
    }
    return E_OK;
}

static void skip_object(const struct manifest *m, const struct tree_node *root,
                        struct str api_version, struct str kind)
{
    char text[128];
    struct wr w = wr_make(text, sizeof(text));
    struct str mend = decode_kind_mend(api_version, kind);
    if (mend.n > 0) {
        wr_str(&w, STR("write apiVersion: "));
        wr_str(&w, mend);
        complain(m, root,
                 &(struct diag){
                     .severity = DIAG_WARNING,
                     .reason = DIAG_UnknownKind,
                     .field = STR("apiVersion"),
                     .line = tree_get(root, STR("apiVersion")) != NULL
                                 ? tree_get(root, STR("apiVersion"))->line
                                 : 0,
                     .what = STR("is not a version that Lintel uses"),
                     .why = STR("the object is skipped"),
                     .mend = {text, wr_n(&w)}
        });
    }
}

/* *ret is what the items of such a list are; both empty for `kind: List`. False: not a list. */
static bool is_list(struct str api_version, struct str kind, struct inherited *ret)
{
    if (!str_has_suffix(kind, STR("List"))) {
        return false;
    }
    struct str item = str_first(kind, kind.n - 4);
    *ret = (struct inherited){STR_EMPTY, STR_EMPTY};
    if (item.n == 0) {
        return str_eq(api_version, STR("v1"));
    }
    *ret = (struct inherited){api_version, item};
    return decode_kind_find(api_version, item) != NULL || decode_kind_mend(api_version, item).n > 0;
}

static enum err take_node(const struct manifest *m, const struct tree_node *root,
                          const struct inherited *inherited);

/* Lists may hold lists: as deep as a document may be. */
static enum err take_list(const struct manifest *m, const struct tree_node *root,
                          const struct inherited *inherited)
{
    const struct tree_node *items = tree_get(root, STR("items"));
    if (items == NULL) {
        return E_OK;
    }
    if (items->kind != TREE_SEQUENCE) {
        complain(m, root,
                 &(struct diag){.severity = DIAG_ERROR,
                                .reason = DIAG_WrongType,
                                .line = items->line,
                                .field = STR("items"),
                                .what = STR("is not a list"),
                                .why = STR("the API wants a list here")});
        return E_OK;
    }
    for (uint32_t i = 0; i < items->n; i++) {
        TRY(take_node(m, tree_item(items, i), inherited));
    }
    return E_OK;
}

static enum err take_node(const struct manifest *m, const struct tree_node *root,
                          const struct inherited *inherited)
{
    struct str api_version, kind;
    struct inherited of_items;
    if (root->kind == TREE_NULL) {
        return E_OK;
    }
    if (root->kind != TREE_MAPPING) {
        complain(m, root,
                 &(struct diag){.severity = DIAG_ERROR,
                                .reason = DIAG_MalformedDocument,
                                .what = STR("is not a mapping"),
                                .why = STR("an object begins with apiVersion and kind")});
        return E_OK;
    }
    if (!type_field(m, root, STR("apiVersion"), inherited->api_version, &api_version) ||
        !type_field(m, root, STR("kind"), inherited->kind, &kind)) {
        return E_OK;
    }
    const struct decode_kind *found = decode_kind_find(api_version, kind);
    if (found != NULL) {
        return take_object(m, found, root);
    }
    if (is_list(api_version, kind, &of_items)) {
        return take_list(m, root, &of_items);
    }
    skip_object(m, root, api_version, kind);
    return E_OK;
}

static enum err on_document(void *arg, const struct tree_node *root)
{
    return take_node(arg, root, &(struct inherited){STR_EMPTY, STR_EMPTY});
}

static bool is_json(struct str file_name, struct str content)
{
    if (str_has_suffix(file_name, STR(".json"))) {
        return true;
    }
    if (str_has_suffix(file_name, STR(".yaml")) || str_has_suffix(file_name, STR(".yml"))) {
        return false;
    }
    size_t i = 0;
    while (i < content.n && (content.p[i] == ' ' || content.p[i] == '\t' || content.p[i] == '\r' ||
                             content.p[i] == '\n')) {
        i++;
    }
    return i < content.n && content.p[i] == '{';
}

enum err manifest_parse(struct str file_name, struct str content, manifest_object_fn *on_object,
                        diag_fn *on_diag_, void *arg)
{
    struct manifest m = {file_name, on_object, on_diag_, arg};
    struct tree_sink sink = {&m, on_document, on_diag};
    if (content.n > MANIFEST_FILE_BYTES_MAX) {
        on_diag(&m, &(struct diag){.severity = DIAG_ERROR,
                                   .reason = DIAG_LimitReached,
                                   .what = STR("is too large"),
                                   .why = STR("a file has at most 64 MB"),
                                   .mend = STR("split it")});
        return E_OK;
    }
    return is_json(file_name, content) ? json_parse(content, &sink) : yaml_parse(content, &sink);
}
