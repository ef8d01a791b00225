/* YAML manifests: whatever comes in, objects that come out are whole and equal to themselves. */
#include "source/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void on_object(void *arg, struct object *o)
{
    (void)arg;
    must(object_is_equal(o, o));
    must(o->name.n > 0 && o->name.p[o->name.n] == '\0');
    object_free(o);
}

static void on_diag(void *arg, const struct diag *d)
{
    (void)arg;
    struct buf text;
    buf_init(&text, 1 << 20);
    diag_emit_text(&text, d);
    must(!text.bad && str_find(buf_str(&text), '\n') == text.n);
    buf_fini(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct str text = {(const char *)data, n};
    must(manifest_parse(STR("f.yaml"), text, on_object, on_diag, NULL) == E_OK);
    return 0;
}
