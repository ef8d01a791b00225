/* Bodies of lists, watches and objects: the same entries whole and in two pieces, and an entry that
 * stops the reading is the last one. The first byte says which body, the second where to split. */
#include "base/hash.h"
#include "kube/reader.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

struct sum {
    uint64_t value;
    unsigned entries, stop_at; /* 0: never */
};

static void add(struct sum *sum, uint64_t value)
{
    const uint64_t both[2] = {sum->value, value};
    sum->value = hash_bytes(both, sizeof(both));
}

static enum err on_entry(void *arg, const struct kube_entry *e)
{
    struct sum *sum = arg;
    must(sum->stop_at == 0 || sum->entries < sum->stop_at);
    must((e->kind == KUBE_ENTRY_OBJECT || e->kind == KUBE_ENTRY_GONE) <= (e->object != NULL));
    must(e->version.n <= KUBE_VERSION_BYTES_MAX && e->next.n <= KUBE_CONTINUE_BYTES_MAX);
    sum->entries++;
    add(sum, e->kind);
    add(sum, e->object != NULL ? e->object->weight : 0);
    add(sum, hash_str(e->version));
    add(sum, hash_str(e->next));
    add(sum, e->status.code);
    add(sum, hash_str(e->status.reason));
    add(sum, hash_str(e->status.message));
    add(sum, e->status.retry_after);
    return sum->entries == sum->stop_at ? E_CLOSED : E_OK;
}

static uint64_t read_body(enum kube_body body, struct str a, struct str b, unsigned stop_at)
{
    struct sum sum = {.stop_at = stop_at};
    struct kube_reader *r;
    must(kube_reader_new(body, on_entry, &sum, &r) == E_OK);
    enum err e = kube_reader_feed(r, a);
    if (e == E_OK && b.n > 0) {
        e = kube_reader_feed(r, b);
    }
    if (e == E_OK) {
        e = kube_reader_end(r);
    }
    must(e == E_OK || e == E_PROTO || (e == E_CLOSED && sum.entries == stop_at));
    kube_reader_free(r);
    add(&sum, e);
    return sum.value;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n < 3) {
        return 0;
    }
    enum kube_body body = (enum kube_body)(data[0] % 3);
    unsigned stop_at = data[0] / 3 % 4;
    struct str text = {(const char *)data + 2, n - 2};
    size_t at = 1 + (size_t)data[1] * text.n / 256;
    must(read_body(body, text, STR_EMPTY, stop_at) ==
         read_body(body, str_first(text, at), str_from(text, at), stop_at));
    return 0;
}
