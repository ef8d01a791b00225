/* Regular expressions from annotations over names from certificates: a pattern up to a NUL, then
 * the subject. What is no pattern is told in words, and nothing takes for ever. */
#include "regex/cache.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { SUBJECT_MAX = 4096 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct str pattern, subject;
    char fault[REGEX_FAULT_BYTES] = "";
    struct regex *r = NULL;
    (void)str_cut(str_make((const char *)data, n), '\0', &pattern, &subject);
    enum err e = regex_new(pattern, fault, &r);
    must(e == E_OK || e == E_PROTO || e == E_LIMIT);
    must((e == E_OK) == (r != NULL));
    must(e != E_PROTO || (memchr(fault, '\0', sizeof(fault)) != NULL && fault[0] != '\0'));
    if (e == E_OK) {
        subject = str_first(subject, SUBJECT_MAX);
        must(regex_finds(r, subject) == regex_finds(r, subject));
    }
    regex_free(r);
    return 0;
}
