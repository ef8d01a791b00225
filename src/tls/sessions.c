/* One row of slots for each worker. A slot has a number that is odd while it is being written
 * (a sequence lock): a reader that finds it odd, or another one after its copy, has found nothing.
 */
#include "tls/sessions.h"

#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <openssl/rand.h>

#include "base/mem.h"
#include "tls/sessions_priv.h"
#include "tls/sites_priv.h"

enum {
    SLOT_HEAD = 8 + SESSION_ID_BYTES,
    SLOT_ROOM = TLS_SESSION_BYTES - SLOT_HEAD,
    PLACE_BYTES = 5
};

struct slot {
    _Atomic uint32_t number; /* odd: being written */
    uint32_t n;
    uint8_t id[SESSION_ID_BYTES];
    uint8_t bytes[SLOT_ROOM];
};

struct tls_sessions {
    struct slot *slots; /* rows * row_n */
    size_t map_bytes;
    uint32_t index, rows, row_n;
    uint32_t next;
    uint64_t kept, found;
};

/* ---- places ---- */

static struct slot *slot_at(struct tls_sessions *s, uint32_t row, uint32_t i)
{
    return &s->slots[(size_t)row * s->row_n + i];
}

/* NULL: not one of ours, not even by its form. */
static struct slot *slot_of(struct tls_sessions *s, const uint8_t *id)
{
    uint32_t i = (uint32_t)id[1] << 24 | (uint32_t)id[2] << 16 | (uint32_t)id[3] << 8 | id[4];
    return id[0] < s->rows && i < s->row_n ? slot_at(s, id[0], i) : NULL;
}

bool sessions_id_make(struct tls_sessions *s, uint8_t ret[SESSION_ID_BYTES])
{
    uint32_t i = s->next;
    s->next = s->next + 1 < s->row_n ? s->next + 1 : 0;
    ret[0] = (uint8_t)s->index;
    ret[1] = (uint8_t)(i >> 24);
    ret[2] = (uint8_t)(i >> 16);
    ret[3] = (uint8_t)(i >> 8);
    ret[4] = (uint8_t)i;
    return RAND_bytes(ret + PLACE_BYTES, SESSION_ID_BYTES - PLACE_BYTES) == 1;
}

void sessions_put(struct tls_sessions *s, const uint8_t id[SESSION_ID_BYTES], const void *p,
                  size_t n)
{
    struct slot *slot = slot_of(s, id);
    if (slot == NULL || id[0] != s->index || n > SLOT_ROOM) {
        return;
    }
    uint32_t number = atomic_load_explicit(&slot->number, memory_order_relaxed);
    atomic_store_explicit(&slot->number, number | 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
    slot->n = (uint32_t)n;
    mem_copy(slot->id, id, SESSION_ID_BYTES);
    mem_copy(slot->bytes, p, n);
    atomic_store_explicit(&slot->number, (number | 1) + 1, memory_order_release);
    s->kept++;
}

size_t sessions_get(struct tls_sessions *s, const uint8_t *id, size_t id_n, void *p)
{
    struct slot *slot = id_n == SESSION_ID_BYTES ? slot_of(s, id) : NULL;
    if (slot == NULL) {
        return 0;
    }
    uint32_t number = atomic_load_explicit(&slot->number, memory_order_acquire);
    size_t n = slot->n;
    bool is_it = (number & 1) == 0 && n > 0 && n <= SLOT_ROOM &&
                 CRYPTO_memcmp(slot->id, id, SESSION_ID_BYTES) == 0;
    if (is_it) {
        mem_copy(p, slot->bytes, n);
    }
    atomic_thread_fence(memory_order_acquire);
    if (!is_it || atomic_load_explicit(&slot->number, memory_order_relaxed) != number) {
        return 0;
    }
    s->found++;
    return n;
}

/* ---- OpenSSL's side ---- */

static struct tls_sessions *sessions_of(SSL *ssl)
{
    return sites_of(ssl)->sessions;
}

static int on_id(SSL *ssl, unsigned char *id, unsigned *n)
{
    if (*n < SESSION_ID_BYTES) {
        return 0;
    }
    *n = SESSION_ID_BYTES;
    return sessions_id_make(sessions_of(ssl), id);
}

static int on_new(SSL *ssl, SSL_SESSION *session)
{
    unsigned id_n;
    const unsigned char *id = SSL_SESSION_get_id(session, &id_n);
    unsigned char bytes[SLOT_ROOM], *at = bytes;
    int n = i2d_SSL_SESSION(session, NULL);
    if (id_n == SESSION_ID_BYTES && n > 0 && n <= (int)sizeof(bytes)) {
        n = i2d_SSL_SESSION(session, &at);
        sessions_put(sessions_of(ssl), id, bytes, (size_t)n);
    }
    OPENSSL_cleanse(bytes, sizeof(bytes));
    return 0; /* we keep a copy, not the session */
}

static SSL_SESSION *on_get(SSL *ssl, const unsigned char *id, int id_n, int *ret_is_shared)
{
    unsigned char bytes[TLS_SESSION_BYTES];
    const unsigned char *at = bytes;
    size_t n = sessions_get(sessions_of(ssl), id, (size_t)id_n, bytes);
    SSL_SESSION *session = n == 0 ? NULL : d2i_SSL_SESSION(NULL, &at, (long)n);
    OPENSSL_cleanse(bytes, sizeof(bytes));
    *ret_is_shared = 0;
    return session;
}

void sessions_attach(SSL_CTX *ssl)
{
    (void)SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_SERVER | SSL_SESS_CACHE_NO_INTERNAL);
    (void)SSL_CTX_set_generate_session_id(ssl, on_id);
    SSL_CTX_sess_set_new_cb(ssl, on_new);
    SSL_CTX_sess_set_get_cb(ssl, on_get);
}

/* ---- life ---- */

static enum err sessions_map(struct tls_sessions *s, int fd, uint32_t worker_n)
{
    struct stat st;
    if (fstat(fd, &st) < 0) {
        return E_SYS;
    }
    uint64_t row_n = (uint64_t)st.st_size / sizeof(struct slot) / worker_n;
    if (row_n == 0) {
        return E_LIMIT;
    }
    s->rows = worker_n;
    s->row_n = row_n < UINT32_MAX ? (uint32_t)row_n : UINT32_MAX;
    s->map_bytes = (size_t)st.st_size;
    void *p = mmap(NULL, s->map_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED) {
        return E_SYS;
    }
    (void)madvise(p, s->map_bytes, MADV_DONTDUMP); /* every kernel that has memfd has it */
    s->slots = p;
    return E_OK;
}

enum err tls_sessions_open(int fd, uint32_t index, uint32_t worker_n, struct tls_sessions **ret)
{
    _Static_assert(sizeof(struct slot) == TLS_SESSION_BYTES, "a slot has that size");
    must(index < worker_n && worker_n <= UINT8_MAX);
    struct tls_sessions *s = mem_calloc(1, sizeof(*s));
    if (s == NULL) {
        return E_NOMEM;
    }
    s->index = index;
    enum err e = sessions_map(s, fd, worker_n);
    if (e != E_OK) {
        mem_free(s);
        return e;
    }
    *ret = s;
    return E_OK;
}

void tls_sessions_close(struct tls_sessions *s)
{
    if (s != NULL) {
        (void)munmap(s->slots, s->map_bytes); /* cannot fail on our own mapping */
        mem_free(s);
    }
}

void tls_sessions_figures(const struct tls_sessions *s, uint64_t *ret_kept, uint64_t *ret_found)
{
    *ret_kept = s->kept;
    *ret_found = s->found;
}
