/* kube/credential.h: one thing that proves who somebody is (a token, certificates, a key): text
 * from the configuration, or a file that is read again when it is replaced. */
#pragma once

#include "base/clock.h"
#include "base/err.h"
#include "base/str.h"

/* Bytes shared by all who hold a reference; wiped when the last one lets go. A NUL follows them. */
struct blob {
    unsigned refs;
    size_t n;
    char bytes[];
};

struct blob *blob_ref(struct blob *b); /* b may be NULL */
void blob_unref(struct blob *b);       /* b may be NULL */

/* The whole file. Errors: E_NOTFOUND, E_LIMIT (KUBE_CREDENTIAL_BYTES_MAX), E_NOMEM, E_SYS. */
enum err blob_read(const char *path, struct blob **ret);

struct credential {
    const char *path; /* borrowed; NULL: the text that it was made from */
    struct blob *blob;
    uint64_t inode, size;
    int64_t changed_ns;
    usec_t looked_at;
};

/* At most one of text and path is given; neither: no blob ever. path is not read yet. Errors:
 * E_NOMEM. */
enum err credential_init(struct credential *c, const char *text, const char *path);
void credential_fini(struct credential *c);
/* The newest that could be read; NULL when there never was any. Looks at the file at most once per
 * KUBE_CREDENTIAL_LOOK. Borrows. */
struct blob *credential_get(struct credential *c, usec_t now);
/* The next get reads the file whatever it looks like: somebody did not accept what it gave. */
void credential_doubt(struct credential *c);
