/* Where the API server is and who we are: kubeconfigs, right and wrong, and the files of a pod. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "kube/config.h"

static char folder[] = "/tmp/lintel-test-XXXXXX";
static char file[64];

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
    assert_int_equal(fclose(f), 0);
}

static int set_up(void **state)
{
    char path[64];
    (void)state;
    assert_non_null(mkdtemp(folder));
    (void)snprintf(file, sizeof(file), "%s/config", folder);
    (void)snprintf(path, sizeof(path), "%s/there", folder);
    write_file(path, "x");
    return 0;
}

static int tear_down(void **state)
{
    static const char *const names[] = {"config", "there", "token", "ca.crt", "namespace"};
    char path[64];
    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
        (void)unlink(path);
    }
    return rmdir(folder);
}

static void on_diag(void *arg, const struct diag *d)
{
    diag_emit_text(arg, d);
    buf_add_char(arg, '\n');
}

#define CONFIG(cluster, user)                                                                      \
    "apiVersion: v1\nkind: Config\ncurrent-context: c\n"                                           \
    "clusters:\n- {name: other}\n- name: k\n  cluster: {" cluster "}\n"                            \
    "users:\n- name: u\n  user: {" user "}\n"                                                      \
    "contexts:\n- name: c\n  context: {cluster: k, user: u, namespace: shop}\n"                    \
    "- name: d\n  context: {cluster: gone}\n"                                                      \
    "- name: e\n  context: {cluster: k}\n"

static void takes_all(void **state)
{
    struct kube_config *c;
    struct buf told;
    char path[80];
    (void)state;
    buf_init(&told, 65536);
    write_file(file, CONFIG("server: 'https://h:1/a/', certificate-authority-data: eA==, "
                            "certificate-authority: nowhere-to-be-read-but-there, "
                            "tls-server-name: srv, proxy-url: 'http://p:3'",
                            "client-certificate: there, client-key-data: eQ==, token: t, "
                            "tokenFile: there"));
    assert_int_equal(kube_config_load(file, NULL, on_diag, &told, &c), E_PROTO);
    write_file(file, CONFIG("server: 'https://h:1/a/', certificate-authority-data: eA==, "
                            "certificate-authority: there, "
                            "tls-server-name: srv, proxy-url: 'http://p:3'",
                            "client-certificate: there, client-key-data: eQ==, token: t, "
                            "tokenFile: there"));
    buf_reset(&told);
    assert_int_equal(kube_config_load(file, NULL, on_diag, &told, &c), E_OK);
    assert_int_equal(told.n, 0);
    (void)snprintf(path, sizeof(path), "%s/there", folder);
    assert_string_equal(c->server, "https://h:1/a");
    assert_string_equal(c->ca_pem, "x");
    assert_null(c->ca_file); /* data goes before files */
    assert_string_equal(c->certificate_file, path);
    assert_string_equal(c->key_pem, "y");
    assert_string_equal(c->token, "t");
    assert_string_equal(c->token_file, path);
    assert_string_equal(c->tls_server_name, "srv");
    assert_string_equal(c->proxy_url, "http://p:3");
    assert_string_equal(c->namespace_name, "shop");
    assert_false(c->is_insecure);
    kube_config_free(c);
    assert_int_equal(kube_config_load(file, "e", on_diag, &told, &c), E_OK); /* no user */
    assert_null(c->token);
    kube_config_free(c);
    buf_fini(&told);
}

static void insecure_is_a_warning(void **state)
{
    struct kube_config *c;
    struct buf told;
    (void)state;
    buf_init(&told, 65536);
    write_file(file, CONFIG("server: 'https://h', insecure-skip-tls-verify: true", ""));
    assert_int_equal(kube_config_load(file, NULL, on_diag, &told, &c), E_OK);
    assert_true(c->is_insecure);
    buf_add_char(&told, '\0');
    assert_non_null(strstr(told.p, "warning: clusters[1].cluster.insecure-skip-tls-verify"));
    kube_config_free(c);
    buf_fini(&told);
}

static void says_what_is_wrong(void **state)
{
    /* clang-format off */ /* it crashes on this table */
    static const struct {
        const char *text, *context, *told;
    } cases[] = {
        {"", NULL, "is empty"},
        {"[]", NULL, "is not a kubeconfig"},
        {"a: [", NULL, "config:2: error: is not YAML"},
        {"a: b", NULL, "current-context: is missing"},
        {CONFIG("server: 'https://h'", ""), "x", "contexts: has no entry of the name that is asked "
                                                 "for: x"},
        {CONFIG("server: 'https://h'", ""), "d", "clusters: has no entry of the name that is asked "
                                                 "for: gone"},
        {CONFIG("", ""), NULL, "clusters[1].cluster.server: is not the address"},
        {CONFIG("server: h", ""), NULL, "clusters[1].cluster.server: is not the address"},
        {CONFIG("server: 'https://'", ""), NULL, "server: is not the address"},
        {CONFIG("server: 'https:///x'", ""), NULL, "server: is not the address"},
        {CONFIG("server: 'https://u@h'", ""), NULL, "server: is not the address"},
        {CONFIG("server: 'https://h/?q'", ""), NULL, "server: is not the address"},
        {CONFIG("server: 17", ""), NULL, "server: is not a text"},
        {CONFIG("server: \"https://h\\0\"", ""), NULL, "server: is not a text"},
        {CONFIG("server: 'https://h', certificate-authority-data: '*'", ""), NULL,
         "certificate-authority-data: is not base64"},
        {CONFIG("server: 'https://h', certificate-authority-data: AAAA", ""), NULL,
         "certificate-authority-data: is not base64"},
        {CONFIG("server: 'https://h', certificate-authority: nope", ""), NULL,
         "certificate-authority: names a file that cannot be read: No such file"},
        {CONFIG("server: 'https://h'", "exec: {command: x}"), NULL,
         "users[0].user.exec: is not supported: Lintel runs no programs; write a token instead"},
        {CONFIG("server: 'https://h'", "auth-provider: {name: x}"), NULL,
         "users[0].user.auth-provider: is not supported"},
        {CONFIG("server: 'https://h'", "username: x, password: y"), NULL,
         "users[0].user.username: is not supported"},
        {CONFIG("server: 'https://h'", "password: y"), NULL, "user.password: is not supported"},
        {CONFIG("server: 'https://h'", "as: y"), NULL, "user.as: is not supported"},
        {CONFIG("server: 'https://h'", "client-key: there"), NULL,
         "client-certificate: is missing: a client certificate needs its key"},
        {CONFIG("server: 'https://h'", "client-certificate: there"), NULL, "client-key: is missing"},
    };
    /* clang-format on */
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct kube_config *c;
        struct buf told;
        buf_init(&told, 65536);
        write_file(file, cases[i].text);
        assert_int_equal(kube_config_load(file, cases[i].context, on_diag, &told, &c), E_PROTO);
        buf_add_char(&told, '\0');
        if (strstr(told.p, cases[i].told) == NULL || strstr(told.p, folder) == NULL) {
            fail_msg("%s\n--- want: %s\n--- told: %s", cases[i].text, cases[i].told, told.p);
        }
        buf_fini(&told);
    }
}

static void files_that_are_none(void **state)
{
    struct kube_config *c;
    struct buf told;
    (void)state;
    buf_init(&told, 65536);
    assert_int_equal(kube_config_load("/nowhere", NULL, on_diag, &told, &c), E_NOTFOUND);
    assert_int_equal(kube_config_load(folder, NULL, on_diag, &told, &c), E_SYS);
    buf_add_char(&told, '\0');
    assert_non_null(strstr(told.p, "/nowhere: error: cannot be read: No such file or directory"));
    buf_fini(&told);
}

static void in_a_pod(void **state)
{
    static const char *const names[] = {"token", "ca.crt", "namespace"};
    struct kube_config *c;
    struct buf told;
    char path[80];
    (void)state;
    buf_init(&told, 65536);
    (void)unsetenv("KUBERNETES_SERVICE_HOST");
    assert_int_equal(kube_config_in_cluster(folder, on_diag, &told, &c), E_NOTFOUND);
    (void)setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1", 1);
    (void)setenv("KUBERNETES_SERVICE_PORT", "443", 1);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        assert_int_equal(kube_config_in_cluster(folder, on_diag, &told, &c), E_NOTFOUND);
        (void)snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
        write_file(path, "shop\n");
    }
    buf_add_char(&told, '\0');
    assert_non_null(strstr(told.p, "KUBERNETES_SERVICE_HOST"));
    assert_non_null(strstr(told.p, "ca.crt: error: cannot be read"));
    assert_non_null(strstr(told.p, "--kubeconfig"));
    assert_int_equal(kube_config_in_cluster(folder, on_diag, &told, &c), E_OK);
    assert_string_equal(c->server, "https://10.0.0.1:443");
    assert_string_equal(c->namespace_name, "shop");
    (void)snprintf(path, sizeof(path), "%s/token", folder);
    assert_string_equal(c->token_file, path);
    kube_config_free(c);
    (void)setenv("KUBERNETES_SERVICE_HOST", "fd00::1", 1);
    assert_int_equal(kube_config_in_cluster(folder, on_diag, &told, &c), E_OK);
    assert_string_equal(c->server, "https://[fd00::1]:443");
    kube_config_free(c);
    buf_fini(&told);
}

static void on_diag_quiet(void *arg, const struct diag *d)
{
    (void)arg;
    (void)d;
}

static void survives_no_memory(void **state)
{
    enum err e = E_NOMEM;
    (void)state;
    write_file(file, CONFIG("server: 'https://h'", "token: t, client-key-data: eQ==, "
                                                   "client-certificate: there"));
    for (size_t n = 1; e != E_OK; n++) {
        struct kube_config *c = NULL;
        mem_fail_from(n);
        e = kube_config_load(file, NULL, on_diag_quiet, NULL, &c);
        mem_fail_from(0);
        assert_true(e == E_OK || e == E_NOMEM);
        kube_config_free(c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_all),          cmocka_unit_test(insecure_is_a_warning),
        cmocka_unit_test(says_what_is_wrong), cmocka_unit_test(files_that_are_none),
        cmocka_unit_test(in_a_pod),           cmocka_unit_test(survives_no_memory),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
