/* Credentials: text, files, files that are replaced, missing, and not accepted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/limits.h"
#include "base/mem.h"
#include "kube/credential.h"

static char path[] = "/tmp/lintel-test-XXXXXX";

static void write_file(size_t n, char c)
{
    char other[sizeof(path) + 2];
    (void)snprintf(other, sizeof(other), "%s.n", path);
    FILE *f = fopen(other, "w");
    assert_non_null(f);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(fputc(c, f), c);
    }
    assert_int_equal(fclose(f), 0);
    assert_int_equal(rename(other, path), 0);
}

static int set_up(void **state)
{
    (void)state;
    int fd = mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}

static int tear_down(void **state)
{
    (void)state;
    (void)unlink(path);
    return 0;
}

static void text(void **state)
{
    struct credential c;
    (void)state;
    assert_int_equal(credential_init(&c, "abc", NULL), E_OK);
    assert_string_equal(credential_get(&c, 1)->bytes, "abc");
    credential_doubt(&c);
    assert_string_equal(credential_get(&c, 2)->bytes, "abc");
    credential_fini(&c);
    assert_int_equal(credential_init(&c, NULL, NULL), E_OK);
    assert_null(credential_get(&c, 1));
    credential_fini(&c);
}

static void rotation(void **state)
{
    struct credential c;
    usec_t now = 1;
    (void)state;
    write_file(3, 'a');
    assert_int_equal(credential_init(&c, NULL, path), E_OK);
    struct blob *first = blob_ref(credential_get(&c, now));
    assert_string_equal(first->bytes, "aaa");
    write_file(4, 'b');
    assert_ptr_equal(credential_get(&c, now + KUBE_CREDENTIAL_LOOK - 1), first); /* not looked at */
    now += KUBE_CREDENTIAL_LOOK;
    assert_string_equal(credential_get(&c, now)->bytes, "bbbb");
    assert_string_equal(first->bytes, "aaa"); /* whoever uses it keeps it */
    blob_unref(first);
    write_file(4, 'c');
    credential_doubt(&c); /* now, not in a second */
    assert_string_equal(credential_get(&c, now + 1)->bytes, "cccc");
    assert_int_equal(unlink(path), 0);
    now += 2 * KUBE_CREDENTIAL_LOOK;
    assert_string_equal(credential_get(&c, now)->bytes, "cccc"); /* gone for the moment */
    write_file(1, 'd');
    now += KUBE_CREDENTIAL_LOOK;
    assert_string_equal(credential_get(&c, now)->bytes, "d");
    credential_fini(&c);
}

static void limit(void **state)
{
    struct blob *b;
    (void)state;
    write_file(KUBE_CREDENTIAL_BYTES_MAX, 'x');
    assert_int_equal(blob_read(path, &b), E_OK);
    assert_int_equal(b->n, KUBE_CREDENTIAL_BYTES_MAX);
    blob_unref(b);
    write_file(KUBE_CREDENTIAL_BYTES_MAX + 1, 'x');
    assert_int_equal(blob_read(path, &b), E_LIMIT);
    assert_int_equal(blob_read("/tmp/lintel-no-such-file", &b), E_NOTFOUND);
    mem_fail_from(1);
    write_file(1, 'x');
    assert_int_equal(blob_read(path, &b), E_NOMEM);
    mem_fail_from(0);
}

/* A look that could not be finished is done again. */
static void no_memory(void **state)
{
    struct credential c;
    (void)state;
    write_file(1, 'a');
    assert_int_equal(credential_init(&c, NULL, path), E_OK);
    mem_fail_from(1);
    assert_null(credential_get(&c, 1));
    mem_fail_from(0);
    assert_string_equal(credential_get(&c, 1 + KUBE_CREDENTIAL_LOOK)->bytes, "a");
    credential_fini(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text),
        cmocka_unit_test(rotation),
        cmocka_unit_test(limit),
        cmocka_unit_test(no_memory),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
