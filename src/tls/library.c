/* OpenSSL's memory and its queue of errors. */
#include "tls/library.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "base/mem.h"
#include "tls/tls_priv.h"

static void *on_alloc(size_t n, const char *file, int line)
{
    (void)file;
    (void)line;
    return n == 0 ? NULL : mem_alloc(n);
}

static void on_free(void *p, const char *file, int line)
{
    (void)file;
    (void)line;
    mem_free(p);
}

static void *on_resize(void *p, size_t n, const char *file, int line)
{
    if (n == 0) {
        on_free(p, file, line);
        return NULL;
    }
    return mem_resize(p, n, 1);
}

enum err tls_library_start(void)
{
    if (CRYPTO_set_mem_functions(on_alloc, on_resize, on_free) != 1) {
        return E_REFUSED;
    }
    /* Now, while files may be read; and none: what we do depends on our own options alone. */
    return OPENSSL_init_ssl(OPENSSL_INIT_NO_LOAD_CONFIG, NULL) == 1 ? E_OK : E_NOMEM;
}

enum err tls_errors_take_as(enum err e, unsigned long *ret_code)
{
    unsigned long code, first = 0;
    while ((code = ERR_get_error()) != 0) {
        e = ERR_GET_REASON(code) == ERR_R_MALLOC_FAILURE ? E_NOMEM : e;
        first = first == 0 && ERR_GET_LIB(code) == ERR_LIB_SSL ? code : first;
    }
    *ret_code = first;
    return e;
}

enum err tls_errors_take(enum err e)
{
    unsigned long code;
    return tls_errors_take_as(e, &code);
}

int tls_no_passphrase(char *p, int room, int is_writing, void *was_asked)
{
    (void)p;
    (void)room;
    (void)is_writing;
    if (was_asked != NULL) {
        *(bool *)was_asked = true;
    }
    return -1;
}
