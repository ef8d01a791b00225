/* Reading bodies: JSON values into entries. Events of unknown types are passed over, as newer
 * servers may have more of them. Source: apimachinery meta/v1, WatchEvent and ListMeta. */
#include "kube/reader.h"

#include "base/buf.h"
#include "base/limits.h"
#include "base/mem.h"
#include "document/json.h"

/* yajl looks at an unfinished token from its beginning with every piece. In a value beyond
 * HOLD_FROM bytes pieces are gathered until they are a quarter of it, so that a text of n bytes
 * costs O(n) and not O(n * n). */
enum { HOLD_FROM = 64 * 1024 };

struct kube_reader {
    struct json_reader *json;
    struct buf held; /* not fed yet */
    enum kube_body body;
    kube_entry_fn *fn;
    void *arg;
    size_t pending;   /* bytes since the piece in which the last value ended */
    bool is_empty;    /* no byte has come */
    bool is_complete; /* a page or an object was there; a watch always is */
};

static struct str version_of(const struct tree_node *object)
{
    return tree_get_string(tree_get(object, STR("metadata")), STR("resourceVersion"));
}

static bool is_object(const struct tree_node *node)
{
    const struct tree_node *metadata = tree_get(node, STR("metadata"));
    return metadata != NULL && metadata->kind == TREE_MAPPING &&
           version_of(node).n <= KUBE_VERSION_BYTES_MAX;
}

static enum err give(struct kube_reader *r, const struct kube_entry *entry)
{
    r->pending = 0;
    return r->fn(r->arg, entry);
}

static enum err give_object(struct kube_reader *r, enum kube_entry_kind kind,
                            const struct tree_node *object)
{
    if (!is_object(object)) {
        return E_PROTO;
    }
    struct kube_entry entry = {.kind = kind, .object = object, .version = version_of(object)};
    bool needs_version = r->body != KUBE_BODY_LIST;
    return needs_version && entry.version.n == 0 ? E_PROTO : give(r, &entry);
}

static enum err on_item(void *arg, const struct tree_node *item)
{
    return give_object(arg, KUBE_ENTRY_OBJECT, item);
}

static enum err take_page(struct kube_reader *r, const struct tree_node *root)
{
    struct kube_entry entry = {
        .kind = KUBE_ENTRY_PAGE,
        .version = version_of(root),
        .next = tree_get_string(tree_get(root, STR("metadata")), STR("continue")),
    };
    if (r->is_complete || !is_object(root) || entry.version.n == 0 ||
        entry.next.n > KUBE_CONTINUE_BYTES_MAX) {
        return E_PROTO;
    }
    r->is_complete = true;
    return give(r, &entry);
}

static enum err take_error(struct kube_reader *r, const struct tree_node *status)
{
    struct kube_entry entry = {.kind = KUBE_ENTRY_ERROR};
    if (!kube_status_read(status, &entry.status)) {
        return E_PROTO;
    }
    return give(r, &entry);
}

static enum err take_event(struct kube_reader *r, const struct tree_node *root)
{
    static const struct {
        struct str name;
        enum kube_entry_kind kind;
    } types[] = {
        {STR_INIT("ADDED"),    KUBE_ENTRY_OBJECT  },
        {STR_INIT("MODIFIED"), KUBE_ENTRY_OBJECT  },
        {STR_INIT("DELETED"),  KUBE_ENTRY_GONE    },
        {STR_INIT("BOOKMARK"), KUBE_ENTRY_BOOKMARK},
    };
    struct str type = tree_get_string(root, STR("type"));
    const struct tree_node *object = tree_get(root, STR("object"));
    if (str_eq(type, STR("ERROR"))) {
        return take_error(r, object);
    }
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        if (str_eq(type, types[i].name)) {
            return give_object(r, types[i].kind, object);
        }
    }
    r->pending = 0;
    return type.n > 0 ? E_OK : E_PROTO;
}

static enum err on_document(void *arg, const struct tree_node *root)
{
    struct kube_reader *r = arg;
    switch (r->body) {
    case KUBE_BODY_LIST:
        return take_page(r, root);
    case KUBE_BODY_WATCH:
        return take_event(r, root);
    case KUBE_BODY_OBJECT:
        if (r->is_complete) {
            return E_PROTO;
        }
        r->is_complete = true;
        return give_object(r, KUBE_ENTRY_OBJECT, root);
    }
    return E_PROTO;
}

static void on_diag(void *arg, const struct diag *d)
{
    (void)arg; /* a body that is no JSON was cut, or does not come from an API server: E_PROTO */
    (void)d;
}

enum err kube_reader_new(enum kube_body body, kube_entry_fn *fn, void *arg,
                         struct kube_reader **ret)
{
    struct kube_reader *r = mem_calloc(1, sizeof(*r));
    if (r == NULL) {
        return E_NOMEM;
    }
    *r = (struct kube_reader){.body = body,
                              .fn = fn,
                              .arg = arg,
                              .is_empty = true,
                              .is_complete = body == KUBE_BODY_WATCH};
    buf_init(&r->held, 2 * KUBE_EVENT_BYTES_MAX);
    enum err e = json_reader_new(&(struct tree_sink){r, on_document, on_diag}, &r->json);
    if (e != E_OK) {
        mem_free(r);
        return e;
    }
    if (body == KUBE_BODY_LIST) {
        json_reader_give_items(r->json, on_item);
    }
    *ret = r;
    return E_OK;
}

void kube_reader_free(struct kube_reader *r)
{
    if (r != NULL) {
        json_reader_free(r->json);
        buf_fini(&r->held);
        mem_free(r);
    }
}

static enum err feed_held(struct kube_reader *r)
{
    enum err e = r->held.n > 0 ? json_reader_feed(r->json, buf_str(&r->held)) : E_OK;
    buf_reset(&r->held);
    return e;
}

/* Events end with a line. */
static bool has_end(const struct kube_reader *r, struct str piece)
{
    return r->body == KUBE_BODY_WATCH && str_find(piece, '\n') < piece.n;
}

enum err kube_reader_feed(struct kube_reader *r, struct str piece)
{
    r->is_empty = r->is_empty && piece.n == 0;
    r->pending += piece.n;
    if (r->pending > KUBE_EVENT_BYTES_MAX) {
        return E_LIMIT;
    }
    if (r->pending <= HOLD_FROM) {
        return json_reader_feed(r->json, piece);
    }
    buf_add_str(&r->held, piece);
    if (r->held.bad) {
        return E_NOMEM;
    }
    return r->held.n >= r->pending / 4 || has_end(r, piece) ? feed_held(r) : E_OK;
}

enum err kube_reader_end(struct kube_reader *r)
{
    if (r->body == KUBE_BODY_WATCH && r->is_empty) {
        return E_OK; /* nothing happened while it lasted */
    }
    TRY(feed_held(r));
    TRY(json_reader_end(r->json));
    return r->is_complete ? E_OK : E_PROTO;
}
