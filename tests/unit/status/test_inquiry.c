/* status/inquiry: one call, its answer as a tree. */
#include "status/inquiry.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"
#include "fake.h"

struct bench {
    struct fake fake;
    struct inquiry ask;
    const char *body;
    size_t fill; /* bytes of a string that the answer holds besides */
    uint32_t status;
    enum err error;
    /* heard */
    int answers;
    struct kube_result result;
    bool has_root;
    char a[16];
    int again; /* ask that often from the callback */
    bool ends; /* end the ask in the callback */
};

static void api(void *arg, const struct fake_request *request, struct fake_answer *ret)
{
    struct bench *b = arg;
    assert_true(str_eq(request->path, STR("/x?y")));
    ret->status = b->status;
    ret->error = b->error;
    buf_add_str(&ret->body, str_from_cstr(b->body));
    if (b->fill > 0) {
        buf_add_char(&ret->body, '"');
        for (size_t i = 0; i + 2 < b->fill; i++) {
            buf_add_char(&ret->body, 'x');
        }
        buf_add_char(&ret->body, '"');
    }
}

static void on_answer(struct inquiry *a, const struct kube_result *result,
                      const struct tree_node *root);

static void ask(struct bench *b)
{
    const struct kube_request request = {.method = KUBE_GET, .path = STR("/x?y")};
    assert_int_equal(inquiry_start(&b->ask, &request, on_answer), E_OK);
}

static void on_answer(struct inquiry *a, const struct kube_result *result,
                      const struct tree_node *root)
{
    struct bench *b = container_of(a, struct bench, ask);
    b->answers++;
    b->result = *result;
    b->has_root = root != NULL;
    struct str text = tree_get_string(root, STR("a"));
    (void)str_to_cstr(text, b->a, sizeof(b->a));
    if (b->again > 0) {
        b->again--;
        ask(b);
    } else if (b->ends) {
        inquiry_fini(a);
    }
}

static void bench_init(struct bench *b)
{
    *b = (struct bench){.body = "{\"a\": \"b\"}", .status = 200};
    fake_init(&b->fake, api, b);
    inquiry_init(&b->ask, b->fake.client);
}

static void bench_fini(struct bench *b)
{
    inquiry_fini(&b->ask);
    fake_fini(&b->fake);
}

static void inquiry_and_wait(struct bench *b)
{
    b->answers = 0;
    ask(b);
    assert_true(inquiry_is_under_way(&b->ask));
    fake_run(&b->fake, 20 * USEC_PER_SEC);
    assert_false(inquiry_is_under_way(&b->ask));
    assert_int_equal(b->answers, 1);
}

static void answers(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    inquiry_and_wait(&b);
    assert_true(b.has_root && b.result.error == E_OK);
    assert_string_equal(b.a, "b");
    b.body = "{\"a\": \"c\"} {\"a\": \"d\"}"; /* more than one document: the first */
    inquiry_and_wait(&b);
    assert_string_equal(b.a, "c");
    bench_fini(&b);
}

static void failures(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    b.body = "{\"a\": ";
    inquiry_and_wait(&b);
    assert_true(!b.has_root && b.result.error == E_PROTO && b.result.status == 200);
    b.body = "";
    inquiry_and_wait(&b);
    assert_true(!b.has_root && b.result.error == E_PROTO);
    b.body = "{}";
    b.status = 404;
    inquiry_and_wait(&b);
    assert_true(!b.has_root && b.result.error == E_OK && b.result.status == 404);
    b.error = E_TIMEOUT; /* the default timeout passes */
    inquiry_and_wait(&b);
    assert_true(!b.has_root && b.result.error == E_TIMEOUT);
    bench_fini(&b);
}

static void length_limit(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    b.body = "";
    b.fill = STATUS_ANSWER_BYTES_MAX;
    inquiry_and_wait(&b);
    assert_true(b.has_root);
    b.fill = STATUS_ANSWER_BYTES_MAX + 1;
    inquiry_and_wait(&b);
    assert_true(!b.has_root && b.result.error == E_LIMIT);
    bench_fini(&b);
}

static void callbacks_may_ask_anew_and_end(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    b.again = 3;
    ask(&b);
    fake_run(&b.fake, USEC_PER_SEC);
    assert_int_equal(b.answers, 4);
    b.ends = true;
    ask(&b);
    fake_run(&b.fake, USEC_PER_SEC);
    assert_int_equal(b.answers, 5);
    bench_fini(&b);
}

static void cancel(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    ask(&b);
    inquiry_cancel(&b.ask);
    assert_false(inquiry_is_under_way(&b.ask));
    ask(&b);
    ask(&b); /* the first one is forgotten */
    fake_run(&b.fake, USEC_PER_SEC);
    assert_int_equal(b.answers, 1);
    ask(&b);
    bench_fini(&b);
}

static void out_of_memory(void **state)
{
    (void)state;
    size_t n = 0;
    bool is_through = false;
    for (; !is_through; n++) {
        struct bench b;
        bench_init(&b);
        const struct kube_request request = {.method = KUBE_GET, .path = STR("/x?y")};
        fake_fail_from(&b.fake, n + 1);
        enum err e = inquiry_start(&b.ask, &request, on_answer);
        if (e == E_OK) {
            while (b.answers == 0) {
                assert_int_equal(loop_step(b.fake.loop, USEC_PER_SEC), E_OK);
            }
            is_through = b.has_root;
            assert_true(is_through || b.result.error == E_NOMEM || b.result.error == E_PROTO);
        } else {
            assert_int_equal(e, E_NOMEM);
        }
        fake_fail_from(&b.fake, 0);
        bench_fini(&b);
    }
    assert_true(n > 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers),      cmocka_unit_test(failures),
        cmocka_unit_test(length_limit), cmocka_unit_test(callbacks_may_ask_anew_and_end),
        cmocka_unit_test(cancel),       cmocka_unit_test(out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
