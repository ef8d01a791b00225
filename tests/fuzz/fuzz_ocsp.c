/* OCSP: whatever responders and the URLs in certificates say. A response counts only when what is
 * signed of it is byte by byte what the issuer has signed; an URL only when nothing of it could be
 * more than a host, a port and a target. The first byte says which of them the rest is. */
#include "tls/ocsp.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/limits.h"
#include "ocsp_world.h"
#include "wire/uri.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define BYTES(array) str_make((const char *)(array), sizeof(array))

/* Made once: it is the same for all inputs. */
static struct tls_ocsp *world(void)
{
    static struct tls_ocsp *made;
    const struct str chain[] = {BYTES(world_leaf), BYTES(world_issuer)};
    const char *why;
    if (made == NULL) {
        must(tls_ocsp_new(chain, 2, &why, &made) == E_OK);
    }
    return made;
}

static bool has(struct str response, struct str part)
{
    return memmem(response.p, response.n, part.p, part.n) != NULL;
}

static void check_response(struct str response)
{
    struct tls_staple s;
    const char *why = NULL;
    enum err e = tls_ocsp_verify(world(), response, WORLD_NOW, &s, &why);
    if (e != E_OK) {
        must(e == E_NOMEM || why != NULL);
        return;
    }
    must(s.from <= WORLD_NOW + OCSP_SKEW_S && s.until > WORLD_NOW && s.until > s.from);
    must(s.is_revoked == has(response, BYTES(world_revoked)));
    must(s.is_revoked || has(response, BYTES(world_good)) ||
         has(response, BYTES(world_delegated)) || has(response, BYTES(world_no_end)));
}

static bool is_visible(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] <= ' ' || s.p[i] > '~') {
            return false;
        }
    }
    return true;
}

static void check_url(struct str url)
{
    struct tls_ocsp_responder r;
    char *out =
        malloc(url.n + 1); /* exactly as much room as the contract asks for, where it counts */
    if (tls_ocsp_responder_parse(url, out, &r) == E_OK) {
        must(url.n <= OCSP_URL_BYTES_MAX && r.port > 0 && r.host.n > 0);
        must(str_has_prefix(r.target, STR("/")) && is_visible(r.target));
        must(host_is_valid(r.authority) && is_visible(r.authority));
        must(str_find(r.authority, '@') == r.authority.n);
        must(str_find(r.authority, '/') == r.authority.n);
    }
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct str rest = str_make((const char *)data + (n > 0), n > 0 ? n - 1 : 0);
    if (n > 0 && data[0] == 'u') {
        check_url(rest);
    } else {
        check_response(rest);
    }
    return 0;
}
