/* Tickets: sessions that clients keep themselves, encrypted by keys that all workers and, where a
 * Secret has them, all replicas share. Source: RFC 5077 section 4, as OpenSSL wants it. */
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include "base/hash.h"
#include "base/mem.h"
#include "tls/sites_priv.h"

enum { REFUSED = 0, DONE = 1, DONE_RENEW = 2, FAILED = -1, IV_BYTES = 16 };

static const struct snap_tickets *tickets_find(const struct tls_sites *s)
{
    const struct snapshot_entry *e =
        snapshot_find(s->secrets, SNAP_TICKETS, STR_EMPTY, hash_str(STR_EMPTY));
    return e == NULL ? NULL : (const struct snap_tickets *)(const void *)e->shard;
}

bool tickets_are_wanted(const struct tls_sites *s)
{
    const struct snap_tickets *t = tickets_find(s);
    return s->settings->ssl_session_tickets != 0 && t != NULL && t->keys.n > 0;
}

static const struct snap_ticket_key *key_find(const struct snap_tickets *t,
                                              const unsigned char *name)
{
    const struct snap_ticket_key *keys = snap_array_get(t, t->keys);
    for (uint32_t i = 0; i < t->keys.n; i++) {
        if (CRYPTO_memcmp(keys[i].name, name, sizeof(keys[i].name)) == 0) {
            return &keys[i];
        }
    }
    return NULL;
}

static bool keys_set(const struct snap_ticket_key *key, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                     EVP_MAC_CTX *mac, int is_encrypting)
{
    union { /* OpenSSL only reads it */
        const uint8_t *in;
        void *out;
    } bytes = {key->mac};
    char digest[] = "SHA256";
    OSSL_PARAM parameters[] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, bytes.out, sizeof(key->mac)),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_end(),
    };
    return EVP_CipherInit_ex(cipher, EVP_aes_256_cbc(), NULL, key->cipher, iv, is_encrypting) ==
               1 &&
           EVP_MAC_CTX_set_params(mac, parameters) == 1;
}

int tickets_on_key(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                   EVP_MAC_CTX *mac, int is_encrypting)
{
    const struct snap_tickets *t = tickets_find(sites_of(ssl));
    if (t == NULL || t->keys.n == 0) {
        return is_encrypting ? FAILED : REFUSED;
    }
    const struct snap_ticket_key *newest = snap_array_get(t, t->keys);
    if (is_encrypting) {
        if (RAND_bytes(iv, IV_BYTES) != 1 || !keys_set(newest, iv, cipher, mac, 1)) {
            return FAILED;
        }
        mem_copy(name, newest->name, sizeof(newest->name));
        return DONE;
    }
    const struct snap_ticket_key *key = key_find(t, name);
    if (key == NULL) {
        return REFUSED; /* of long ago: a whole handshake follows */
    }
    if (!keys_set(key, iv, cipher, mac, 0)) {
        return FAILED;
    }
    /* RFC 8446 appendix C.4: a ticket of 1.3 is good for one connection, so each brings the next.
     */
    bool is_spent = key != newest || SSL_version(ssl) == TLS1_3_VERSION;
    return is_spent ? DONE_RENEW : DONE;
}
