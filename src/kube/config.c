/* The API server's address and our credentials, by tables of fields. Of a kubeconfig just the
 * entries that the context names are read; what is wrong with others does not matter. */
#include "kube/config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/mem.h"
#include "document/yaml.h"
#include "kube/credential.h"
#include "wire/base64.h"

enum { CONFIG_BYTES_MAX = 16 << 20, FIELD_BYTES_MAX = 256 };

static const char SERVICE_ACCOUNT_FOLDER[] = "/var/run/secrets/kubernetes.io/serviceaccount";

struct loading {
    struct kube_config *config;
    struct str file, folder; /* folder: of relative names; empty: the working directory */
    struct str context;
    diag_fn *on_diag;
    void *arg;
    bool has_document;
    enum err result; /* of the document: yaml_parse() takes E_PROTO for told and done with */
};

/* ---- telling ---- */

static enum err tell(struct loading *l, const struct diag *d)
{
    struct diag full = *d;
    full.severity = d->severity != 0 ? d->severity : DIAG_ERROR;
    full.file = l->file;
    l->on_diag(l->arg, &full);
    return full.severity == DIAG_ERROR ? E_PROTO : E_OK;
}

/* An entry of one of the lists, and how to name its fields: "users[2].user". */
struct entry {
    const struct tree_node *fields;
    char path[FIELD_BYTES_MAX];
};

static struct str field_path(const struct entry *e, struct str key, char out[FIELD_BYTES_MAX])
{
    struct wr w = wr_make(out, FIELD_BYTES_MAX);
    wr_str(&w, str_from_cstr(e->path));
    wr_char(&w, '.');
    wr_str(&w, key);
    return (struct str){out, wr_n(&w)};
}

static enum err tell_field(struct loading *l, const struct entry *e, struct str key, struct diag d)
{
    char path[FIELD_BYTES_MAX];
    const struct tree_node *value = tree_get(e->fields, key);
    d.field = field_path(e, key, path);
    d.line = value != NULL ? value->line : e->fields->line;
    return tell(l, &d);
}

/* ---- fields ---- */

enum form { TEXT, PATH, BASE64 };

struct field {
    struct str key;
    enum form form;
    size_t offset; /* of the const char * in struct kube_config */
};

#define AT(member) offsetof(struct kube_config, member)

static const struct field cluster_fields[] = {
    {STR_INIT("server"),                     TEXT,   AT(server)         },
    {STR_INIT("certificate-authority"),      PATH,   AT(ca_file)        },
    {STR_INIT("certificate-authority-data"), BASE64, AT(ca_pem)         },
    {STR_INIT("tls-server-name"),            TEXT,   AT(tls_server_name)},
    {STR_INIT("proxy-url"),                  TEXT,   AT(proxy_url)      },
};

static const struct field user_fields[] = {
    {STR_INIT("client-certificate"),      PATH,   AT(certificate_file)},
    {STR_INIT("client-certificate-data"), BASE64, AT(certificate_pem) },
    {STR_INIT("client-key"),              PATH,   AT(key_file)        },
    {STR_INIT("client-key-data"),         BASE64, AT(key_pem)         },
    {STR_INIT("token"),                   TEXT,   AT(token)           },
    {STR_INIT("tokenFile"),               PATH,   AT(token_file)      },
};

#define FIELDS_N(fields) (sizeof(fields) / sizeof((fields)[0]))

/* What kubectl can do and Lintel cannot. */
static const struct {
    struct str key, why, mend;
} refused[] = {
    {STR_INIT("exec"),          STR_INIT("Lintel runs no programs"),
     STR_INIT(
         "write a token instead: `kubectl create token NAME` makes one for a service account")},
    {STR_INIT("auth-provider"), STR_INIT("this plugin is not supported"),
     STR_INIT(
         "write a token instead: `kubectl create token NAME` makes one for a service account")},
    {STR_INIT("username"),      STR_INIT("API servers have dropped basic authentication"),
     STR_INIT("write a token or a client certificate instead")                                },
    {STR_INIT("password"),      STR_INIT("API servers have dropped basic authentication"),
     STR_INIT("write a token or a client certificate instead")                                },
    {STR_INIT("as"),            STR_INIT("Lintel acts for nobody else"),
     STR_INIT("write the credentials of the account that it is to be")                        },
};

static const char **slot(struct kube_config *c, const struct field *f)
{
    return (const char **)(void *)((char *)c + f->offset);
}

static enum err decode_base64(struct loading *l, const struct entry *e, const struct field *f,
                              struct str text)
{
    char *out = arena_alloc(&l->config->arena, base64_room(text.n) + 1);
    size_t n;
    if (out == NULL) {
        return E_NOMEM;
    }
    if (base64_decode(text, out, &n) != E_OK || memchr(out, '\0', n) != NULL) {
        return tell_field(l, e, f->key,
                          (struct diag){.reason = DIAG_InvalidValue,
                                        .what = STR("is not base64 of a PEM file"),
                                        .why = STR("the file stands here as base64"),
                                        .mend = STR("write the output of `base64 -w0 FILE`")});
    }
    out[n] = '\0';
    *slot(l->config, f) = out;
    return E_OK;
}

static enum err take_path(struct loading *l, const struct entry *e, const struct field *f,
                          struct str text)
{
    struct buf path;
    struct str copy;
    buf_init(&path, CONFIG_BYTES_MAX);
    if (text.p[0] != '/' && l->folder.n > 0) {
        buf_add_str(&path, l->folder);
        buf_add_char(&path, '/');
    }
    buf_add_str(&path, text);
    bool is_ok = !path.bad && arena_str(&l->config->arena, buf_str(&path), &copy);
    buf_fini(&path);
    if (!is_ok) {
        return E_NOMEM;
    }
    if (access(copy.p, R_OK) < 0) {
        char why[128];
        return tell_field(
            l, e, f->key,
            (struct diag){.reason = DIAG_UnreadableFile,
                          .what = STR("names a file that cannot be read"),
                          .why = str_from_cstr(strerror_r(errno, why, sizeof(why))),
                          .mend = STR("relative names count from the kubeconfig's folder")});
    }
    *slot(l->config, f) = copy.p;
    return E_OK;
}

static enum err take_field(struct loading *l, const struct entry *e, const struct field *f)
{
    const struct tree_node *value = tree_get(e->fields, f->key);
    if (value == NULL || (value->kind == TREE_STRING && value->n == 0)) {
        return E_OK;
    }
    if (value->kind != TREE_STRING || memchr(value->p, '\0', value->n) != NULL) {
        return tell_field(l, e, f->key,
                          (struct diag){.reason = DIAG_WrongType,
                                        .what = STR("is not a text"),
                                        .why = STR("this field is a string"),
                                        .mend = STR("put it in quotes")});
    }
    switch (f->form) {
    case BASE64:
        return decode_base64(l, e, f, tree_text(value));
    case PATH:
        return take_path(l, e, f, tree_text(value));
    case TEXT:
        break;
    }
    struct str copy;
    if (!arena_str(&l->config->arena, tree_text(value), &copy)) {
        return E_NOMEM;
    }
    *slot(l->config, f) = copy.p;
    return E_OK;
}

static enum err take_fields(struct loading *l, const struct entry *e, const struct field *fields,
                            size_t n)
{
    for (size_t i = 0; i < n; i++) {
        TRY(take_field(l, e, &fields[i]));
    }
    return E_OK;
}

/* ---- entries ---- */

/* Finds list[name] and its mapping inner: users -> user. */
static enum err find_entry(struct loading *l, const struct tree_node *root, struct str list,
                           struct str inner, struct str name, struct entry *ret)
{
    const struct tree_node *entries = tree_get(root, list);
    for (uint32_t i = 0; entries != NULL && entries->kind == TREE_SEQUENCE && i < entries->n; i++) {
        const struct tree_node *entry = tree_item(entries, i);
        const struct tree_node *fields = tree_get(entry, inner);
        if (str_eq(tree_get_string(entry, STR("name")), name) && fields != NULL) {
            struct wr w = wr_make(ret->path, sizeof(ret->path) / 2);
            wr_str(&w, list);
            wr_char(&w, '[');
            wr_u64(&w, i);
            wr_str(&w, STR("]."));
            wr_str(&w, inner);
            wr_char(&w, '\0');
            ret->fields = fields;
            return E_OK;
        }
    }
    return tell(l, &(struct diag){.reason = DIAG_MissingField,
                                  .field = list,
                                  .what = STR("has no entry of the name that is asked for"),
                                  .why = name,
                                  .mend = STR("`kubectl config view` shows what there is")});
}

static enum err check_server(struct loading *l, const struct entry *e)
{
    struct str server = str_from_cstr(l->config->server), copy;
    bool is_https = str_has_prefix(server, STR("https://"));
    bool is_http = str_has_prefix(server, STR("http://"));
    while (server.n > 0 && server.p[server.n - 1] == '/') {
        server.n--;
    }
    struct str rest = str_from(server, is_https ? 8 : 7);
    bool has_bad = str_find(rest, '?') < rest.n || str_find(rest, '#') < rest.n ||
                   str_find(rest, '@') < rest.n || str_find(rest, ' ') < rest.n;
    if ((!is_https && !is_http) || rest.n == 0 || rest.p[0] == '/' || has_bad) {
        return tell_field(l, e, STR("server"),
                          (struct diag){.reason = DIAG_InvalidValue,
                                        .what = STR("is not the address of an API server"),
                                        .why = STR("it is the URL of its root, with scheme"),
                                        .mend = STR("write https://HOST:PORT")});
    }
    if (!arena_str(&l->config->arena, server, &copy)) {
        return E_NOMEM;
    }
    l->config->server = copy.p;
    return E_OK;
}

/* cluster: insecure-skip-tls-verify. */
static enum err check_insecure(struct loading *l, const struct entry *e)
{
    static const struct str key = STR_INIT("insecure-skip-tls-verify");
    const struct tree_node *value = tree_get(e->fields, key);
    l->config->is_insecure = value != NULL && value->kind == TREE_BOOL && value->is_true;
    if (!l->config->is_insecure) {
        return E_OK;
    }
    return tell_field(l, e, key,
                      (struct diag){.severity = DIAG_WARNING,
                                    .reason = DIAG_InvalidValue,
                                    .what = STR("is true"),
                                    .why = STR("whoever is on the way to the API server can read "
                                               "and change everything, credentials included"),
                                    .mend = STR("write certificate-authority-data instead")});
}

static enum err take_cluster(struct loading *l, const struct tree_node *root, struct str name)
{
    struct entry e;
    TRY(find_entry(l, root, STR("clusters"), STR("cluster"), name, &e));
    TRY(take_fields(l, &e, cluster_fields, FIELDS_N(cluster_fields)));
    TRY(check_insecure(l, &e));
    if (l->config->ca_pem != NULL) {
        l->config->ca_file = NULL; /* as clientcmd has it: data goes before files */
    }
    return check_server(l, &e);
}

static enum err check_pair(struct loading *l, const struct entry *e)
{
    const struct kube_config *c = l->config;
    bool has_certificate = c->certificate_pem != NULL || c->certificate_file != NULL;
    bool has_key = c->key_pem != NULL || c->key_file != NULL;
    if (has_certificate == has_key) {
        return E_OK;
    }
    return tell_field(l, e, has_certificate ? STR("client-key") : STR("client-certificate"),
                      (struct diag){.reason = DIAG_MissingField,
                                    .what = STR("is missing"),
                                    .why = STR("a client certificate needs its key"),
                                    .mend = STR("write both or none of them")});
}

static enum err take_user(struct loading *l, const struct tree_node *root, struct str name)
{
    struct entry e;
    TRY(find_entry(l, root, STR("users"), STR("user"), name, &e));
    for (size_t i = 0; i < FIELDS_N(refused); i++) {
        if (tree_get(e.fields, refused[i].key) != NULL) {
            return tell_field(l, &e, refused[i].key,
                              (struct diag){.reason = DIAG_InvalidValue,
                                            .what = STR("is not supported"),
                                            .why = refused[i].why,
                                            .mend = refused[i].mend});
        }
    }
    TRY(take_fields(l, &e, user_fields, FIELDS_N(user_fields)));
    if (l->config->certificate_pem != NULL) {
        l->config->certificate_file = NULL;
    }
    if (l->config->key_pem != NULL) {
        l->config->key_file = NULL;
    }
    return check_pair(l, &e);
}

static enum err take_context(struct loading *l, const struct tree_node *root)
{
    static const struct field fields[] = {
        {STR_INIT("namespace"), TEXT, AT(namespace_name)}
    };
    struct str name = l->context.n > 0 ? l->context : tree_get_string(root, STR("current-context"));
    struct entry e;
    if (name.n == 0) {
        return tell(l, &(struct diag){.reason = DIAG_MissingField,
                                      .field = STR("current-context"),
                                      .what = STR("is missing"),
                                      .why = STR("it says which cluster to use, and as whom"),
                                      .mend = STR("set it with `kubectl config use-context NAME`, "
                                                  "or give --context NAME")});
    }
    TRY(find_entry(l, root, STR("contexts"), STR("context"), name, &e));
    TRY(take_fields(l, &e, fields, FIELDS_N(fields)));
    TRY(take_cluster(l, root, tree_get_string(e.fields, STR("cluster"))));
    struct str user = tree_get_string(e.fields, STR("user"));
    return user.n > 0 ? take_user(l, root, user) : E_OK;
}

static enum err on_document(void *arg, const struct tree_node *root)
{
    struct loading *l = arg;
    if (l->has_document) {
        return E_OK; /* kubectl reads the first one, too */
    }
    l->has_document = true;
    if (root->kind != TREE_MAPPING) {
        return l->result =
                   tell(l, &(struct diag){.reason = DIAG_MalformedDocument,
                                          .what = STR("is not a kubeconfig"),
                                          .why = STR("a kubeconfig is a mapping of lists"),
                                          .mend = STR("`kubectl config view --raw` writes one")});
    }
    return l->result = take_context(l, root);
}

static void on_yaml_diag(void *arg, const struct diag *d)
{
    struct loading *l = arg;
    l->has_document = true;
    l->result = tell(l, d);
}

/* ---- loading ---- */

static enum err config_new(struct kube_config **ret)
{
    struct kube_config *c = mem_calloc(1, sizeof(*c));
    if (c == NULL) {
        return E_NOMEM;
    }
    arena_init(&c->arena, CONFIG_BYTES_MAX);
    *ret = c;
    return E_OK;
}

static struct str folder_of(struct str file)
{
    size_t n = file.n;
    while (n > 0 && file.p[n - 1] != '/') {
        n--;
    }
    return n > 1 ? str_first(file, n - 1) : str_first(file, n);
}

static enum err parse(struct loading *l, struct str content)
{
    TRY(yaml_parse(content, &(struct tree_sink){l, on_document, on_yaml_diag}));
    if (l->has_document) {
        return l->result;
    }
    return tell(l, &(struct diag){.reason = DIAG_MalformedDocument,
                                  .what = STR("is empty"),
                                  .why = STR("there is no cluster in it"),
                                  .mend = STR("`kubectl config view --raw` writes a kubeconfig")});
}

static enum err tell_unreadable(struct loading *l, enum err e)
{
    char why[128];
    int error = errno;
    (void)tell(l, &(struct diag){.reason = DIAG_UnreadableFile,
                                 .what = STR("cannot be read"),
                                 .why = e == E_LIMIT
                                            ? STR("it is larger than 1 MiB")
                                            : str_from_cstr(strerror_r(error, why, sizeof(why))),
                                 .mend = STR("name a kubeconfig with --kubeconfig FILE")});
    errno = error;
    return e == E_LIMIT ? E_PROTO : e;
}

enum err kube_config_load(const char *file, const char *context, diag_fn *on_diag, void *arg,
                          struct kube_config **ret)
{
    struct loading l = {.file = str_from_cstr(file),
                        .folder = folder_of(str_from_cstr(file)),
                        .context = str_from_cstr(context),
                        .on_diag = on_diag,
                        .arg = arg};
    struct blob *content;
    enum err e = blob_read(file, &content);
    if (e != E_OK) {
        return e == E_NOMEM ? e : tell_unreadable(&l, e);
    }
    e = config_new(&l.config);
    if (e == E_OK) {
        e = parse(&l, (struct str){content->bytes, content->n});
    }
    blob_unref(content);
    if (e != E_OK) {
        kube_config_free(l.config);
        return e;
    }
    *ret = l.config;
    return E_OK;
}

/* ---- in a pod ---- */

static enum err no_pod(struct loading *l, struct str what)
{
    (void)tell(l, &(struct diag){.reason = DIAG_MissingField,
                                 .what = what,
                                 .why = STR("this is no pod of a cluster, or it has no service "
                                            "account"),
                                 .mend = STR("give --kubeconfig FILE or --manifests DIRECTORY")});
    return E_NOTFOUND;
}

static enum err pod_file(struct loading *l, const char *name, const char **ret)
{
    struct buf path;
    struct str copy;
    buf_init(&path, CONFIG_BYTES_MAX);
    buf_addf(&path, "%.*s/%s", STR_ARG(l->folder), name);
    bool is_ok = !path.bad && arena_str(&l->config->arena, buf_str(&path), &copy);
    buf_fini(&path);
    if (!is_ok) {
        return E_NOMEM;
    }
    l->file = copy;
    if (access(copy.p, R_OK) < 0) {
        return no_pod(l, STR("cannot be read"));
    }
    *ret = copy.p;
    return E_OK;
}

static enum err pod_server(struct loading *l)
{
    struct str host = str_from_cstr(getenv("KUBERNETES_SERVICE_HOST"));
    struct str port = str_from_cstr(getenv("KUBERNETES_SERVICE_PORT"));
    struct buf server;
    struct str copy;
    if (host.n == 0 || port.n == 0) {
        return no_pod(l, STR("KUBERNETES_SERVICE_HOST or KUBERNETES_SERVICE_PORT is not set"));
    }
    bool is_v6 = str_find(host, ':') < host.n;
    buf_init(&server, FIELD_BYTES_MAX * 2);
    buf_addf(&server, is_v6 ? "https://[%.*s]:%.*s" : "https://%.*s:%.*s", STR_ARG(host),
             STR_ARG(port));
    bool is_ok = !server.bad && arena_str(&l->config->arena, buf_str(&server), &copy);
    buf_fini(&server);
    if (!is_ok) {
        return E_NOMEM;
    }
    l->config->server = copy.p;
    return E_OK;
}

static enum err pod_namespace(struct loading *l)
{
    const char *path;
    struct blob *content;
    struct str copy;
    enum err e = pod_file(l, "namespace", &path);
    if (e == E_OK) {
        e = blob_read(path, &content);
    }
    if (e != E_OK) {
        return e;
    }
    struct str name, rest;
    (void)str_cut((struct str){content->bytes, content->n}, '\n', &name, &rest);
    bool is_ok = arena_str(&l->config->arena, name, &copy);
    blob_unref(content);
    if (!is_ok) {
        return E_NOMEM;
    }
    l->config->namespace_name = copy.p;
    return E_OK;
}

static enum err load_pod(struct loading *l)
{
    TRY(pod_server(l));
    TRY(pod_file(l, "token", &l->config->token_file));
    TRY(pod_file(l, "ca.crt", &l->config->ca_file));
    return pod_namespace(l);
}

enum err kube_config_in_cluster(const char *folder, diag_fn *on_diag, void *arg,
                                struct kube_config **ret)
{
    struct loading l = {.folder = str_from_cstr(folder != NULL ? folder : SERVICE_ACCOUNT_FOLDER),
                        .on_diag = on_diag,
                        .arg = arg};
    enum err e = config_new(&l.config);
    if (e == E_OK) {
        e = load_pod(&l);
    }
    if (e != E_OK) {
        kube_config_free(l.config);
        return e;
    }
    *ret = l.config;
    return E_OK;
}

/* Ours, in our arena: the const is for readers. */
static void wipe(const char *secret)
{
    if (secret != NULL) {
        explicit_bzero((void *)(uintptr_t)secret, strlen(secret));
    }
}

void kube_config_free(struct kube_config *c)
{
    if (c == NULL) {
        return;
    }
    wipe(c->token);
    wipe(c->key_pem);
    arena_fini(&c->arena);
    mem_free(c);
}
