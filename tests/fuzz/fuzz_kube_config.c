/* Kubeconfigs: what is not taken is told, what is taken can be used. */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kube/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

struct told {
    unsigned errors;
};

static void on_diag(void *arg, const struct diag *d)
{
    struct told *told = arg;
    struct buf text;
    told->errors += d->severity == DIAG_ERROR;
    buf_init(&text, 1 << 20);
    diag_emit_text(&text, d);
    must(!text.bad && str_find(buf_str(&text), '\n') == text.n);
    buf_fini(&text);
}

static void check(const struct kube_config *c)
{
    must(c->server != NULL);
    struct str server = str_from_cstr(c->server);
    must(str_has_prefix(server, STR("https://")) || str_has_prefix(server, STR("http://")));
    must(!str_has_suffix(server, STR("/")));
    must(c->ca_pem == NULL || c->ca_file == NULL);
    must(c->certificate_pem == NULL || c->certificate_file == NULL);
    must(c->key_pem == NULL || c->key_file == NULL);
    bool has_certificate = c->certificate_pem != NULL || c->certificate_file != NULL;
    must(has_certificate == (c->key_pem != NULL || c->key_file != NULL));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    char path[32];
    struct told told = {0};
    struct kube_config *c = NULL;
    int fd = memfd_create("kubeconfig", MFD_CLOEXEC);
    must(fd >= 0 && write(fd, data, n) == (ssize_t)n);
    struct wr w = wr_make(path, sizeof(path));
    wr_str(&w, STR("/proc/self/fd/"));
    wr_u64(&w, (uint64_t)fd);
    wr_char(&w, '\0');
    enum err e = kube_config_load(path, NULL, on_diag, &told, &c);
    must(e == E_OK || e == E_PROTO);
    must((e == E_OK) == (told.errors == 0));
    if (e == E_OK) {
        check(c);
    }
    kube_config_free(c);
    must(close(fd) == 0);
    return 0;
}
