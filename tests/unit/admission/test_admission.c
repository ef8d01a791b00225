/* The webhook as a whole, over TLS on the loopback, with a client in a process of its own; and the
 * certificate's files as they change. */
#include "admission/admission.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/limits.h"
#include "os/listen.h"
#include "tls/certificate.h"

#define REVIEW                                                                                     \
    "{\"apiVersion\":\"admission.k8s.io/v1\",\"kind\":\"AdmissionReview\",\"request\":{\"uid\":"   \
    "\"u-1\",\"kind\":{\"group\":\"networking.k8s.io\",\"version\":\"v1\",\"kind\":\"Ingress\"},"  \
    "\"operation\":\"CREATE\",\"object\":{\"metadata\":{\"name\":\"x\"},\"spec\":{"                \
    "\"ingressClassName\":\"lintel\",\"defaultBackend\":{\"service\":{\"name\":\"web\",\"port\":{" \
    "\"number\":80}}}}}}}"

/* The test's own clocks: as they are, but the monotonic one can be set ahead. */
static usec_t ahead;

static usec_t clock_read(clockid_t id)
{
    struct timespec t;
    (void)clock_gettime(id, &t);
    return (usec_t)t.tv_sec * USEC_PER_SEC + (usec_t)t.tv_nsec / 1000;
}

usec_t clock_monotonic(void)
{
    return clock_read(CLOCK_MONOTONIC) + ahead;
}

usec_t clock_wall(void)
{
    return clock_read(CLOCK_REALTIME);
}

usec_t clock_cpu(void)
{
    return clock_read(CLOCK_PROCESS_CPUTIME_ID);
}

struct world {
    struct loop *loop;
    struct admission *admission;
    struct admission_options options;
    char folder[64], certificate[96], key[96];
    struct buf ca;
    int fd;
    uint16_t port;
};

/* ---- a pair in files ---- */

static void file_write(const char *path, struct str text)
{
    char temporary[128];
    (void)snprintf(temporary, sizeof(temporary), "%s.new", path);
    FILE *f = fopen(temporary, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(text.p, 1, text.n, f), text.n);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(rename(temporary, path), 0);
}

static void pair_write(struct world *w, const char *name, int64_t age_s)
{
    struct str names[] = {str_from_cstr(name)};
    int64_t now = (int64_t)time(NULL);
    struct tls_make make = {.common_name = "test",
                            .names = names,
                            .name_n = 1,
                            .not_before = now - 3600 - age_s,
                            .not_after = now + 3600 - age_s};
    struct buf chain, key;
    buf_init(&chain, 1 << 16);
    buf_init(&key, 1 << 16);
    buf_reset(&w->ca);
    assert_int_equal(tls_certificate_make(&make, &w->ca, &chain, &key), E_OK);
    file_write(w->key, buf_str(&key));
    file_write(w->certificate, buf_str(&chain));
    buf_fini(&chain);
    buf_wipe(&key);
}

/* ---- the world ---- */

static bool is_ours(const void *arg, const struct ingress *in)
{
    (void)arg;
    return str_eq(in->class_name, STR("lintel"));
}

static enum err judge(const void *arg, const struct ingress *in, diag_fn *fn, void *fn_arg)
{
    (void)arg;
    (void)in;
    fn(fn_arg, &(struct diag){.severity = DIAG_ERROR,
                              .reason = DIAG_PathConflict,
                              .what = STR("is taken"),
                              .why = STR("why"),
                              .mend = STR("mend")});
    return E_OK;
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    struct listen_options how = {.address = "127.0.0.1"};
    (void)snprintf(w->folder, sizeof(w->folder), "/tmp/lintel-admission-XXXXXX");
    assert_non_null(mkdtemp(w->folder));
    (void)snprintf(w->certificate, sizeof(w->certificate), "%s/tls.crt", w->folder);
    (void)snprintf(w->key, sizeof(w->key), "%s/tls.key", w->folder);
    buf_init(&w->ca, 1 << 16);
    pair_write(w, "a.example", 0);
    assert_int_equal(loop_new(&w->loop), E_OK);
    assert_int_equal(listen_open(&how, &w->fd, &w->port), E_OK);
    w->options = (struct admission_options){
        .judge = {NULL, is_ours,                        judge},
        .certificates = {.certificate_file = w->certificate,    .key_file = w->key},
    };
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    admission_close(w->admission);
    loop_free(w->loop);
    (void)close(w->fd);
    (void)unlink(w->certificate);
    (void)unlink(w->key);
    (void)rmdir(w->folder);
    buf_fini(&w->ca);
    free(w);
    return 0;
}

/* ---- the client, in its own process: its exit status is the verdict ---- */

static SSL *client_connect(const struct world *w, const char *name)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(w->port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    BIO *bio = BIO_new_mem_buf(w->ca.p, (int)w->ca.n);
    X509 *ca = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    (void)X509_STORE_add_cert(SSL_CTX_get_cert_store(context), ca);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    SSL *ssl = SSL_new(context);
    if (connect(fd, (struct sockaddr *)&to, sizeof(to)) != 0 || SSL_set_fd(ssl, fd) != 1 ||
        SSL_set1_host(ssl, name) != 1 || SSL_connect(ssl) != 1) {
        _exit(10);
    }
    return ssl;
}

/* Sends, reads one response, looks for what must be in it. */
static void client_ask(SSL *ssl, const char *head, size_t body_n, const char *body,
                       const char *expected)
{
    static char text[1 << 16];
    size_t n = 0;
    (void)snprintf(text, sizeof(text), "%shost: x\r\ncontent-length: %zu\r\n\r\n", head, body_n);
    if (SSL_write(ssl, text, (int)strlen(text)) <= 0 ||
        (body != NULL && SSL_write(ssl, body, (int)strlen(body)) <= 0)) {
        _exit(11);
    }
    text[0] = '\0';
    while (strstr(text, expected) == NULL) {
        int got = SSL_read(ssl, text + n, (int)(sizeof(text) - n - 1));
        if (got <= 0) {
            _exit(12);
        }
        n += (size_t)got;
        text[n] = '\0';
    }
}

static void client_run(const struct world *w)
{
    SSL *ssl = client_connect(w, "a.example");
    for (int i = 0; i < 3; i++) { /* on one connection */
        client_ask(ssl, "POST /validate HTTP/1.1\r\n", strlen(REVIEW), REVIEW,
                   "\"allowed\":false,\"status\":{\"status\":\"Failure\",\"message\":\"is taken: "
                   "why; mend (PathConflict)\"");
    }
    client_ask(ssl, "POST / HTTP/1.1\r\n", 2, "{}", "HTTP/1.1 400 ");
    client_ask(ssl, "POST / HTTP/1.1\r\n", strlen(REVIEW), REVIEW, "HTTP/1.1 200 ");
    client_ask(ssl, "GET / HTTP/1.1\r\n", 0, NULL, "HTTP/1.1 405 ");
    ssl = client_connect(w, "a.example");
    client_ask(ssl, "POST / HTTP/1.1\r\n", ADMISSION_BODY_BYTES_MAX + 1, NULL, "HTTP/1.1 413 ");
    ssl = client_connect(w, "a.example");
    static char large[ADMISSION_BODY_BYTES_MAX + 1];
    memset(large, ' ', sizeof(large) - 1);
    memcpy(large + sizeof(large) - 1 - strlen(REVIEW), REVIEW, strlen(REVIEW));
    client_ask(ssl, "POST / HTTP/1.1\r\n", sizeof(large) - 1, large, "\"uid\":\"u-1\"");
}

/* Runs the loop until the client has ended, 20 s at most. */
static int client_wait(struct world *w, void (*run)(const struct world *w))
{
    int status = 0;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)alarm(20);
        run(w);
        _exit(0);
    }
    while (waitpid(pid, &status, WNOHANG) == 0) {
        assert_int_equal(loop_step(w->loop, 10 * USEC_PER_MS), E_OK);
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 100;
}

static void reviews_over_tls(void **state)
{
    struct world *w = *state;
    struct buf metrics;
    assert_int_equal(admission_open(w->loop, w->fd, &w->options, &w->admission), E_OK);
    assert_int_equal(client_wait(w, client_run), 0);
    const struct admission_counters *c = admission_counters(w->admission);
    assert_int_equal(c->reviews[REVIEW_REFUSED], 5);
    assert_int_equal(c->failed, 3);
    assert_true(admission_not_after(w->admission) > (int64_t)time(NULL));
    buf_init(&metrics, 1 << 16);
    admission_emit_metrics(w->admission, &metrics);
    buf_add_char(&metrics, '\0');
    assert_non_null(strstr(metrics.p, "lintel_admission_reviews_total{result=\"refused\"} 5\n"));
    assert_non_null(
        strstr(metrics.p, "lintel_admission_review_duration_seconds_bucket{le=\"+Inf\"} 5\n"));
    assert_non_null(strstr(metrics.p, "lintel_admission_handshake_failures_total 0\n"));
    assert_false(metrics.bad);
    buf_fini(&metrics);
}

static void client_of_b(const struct world *w)
{
    (void)client_connect(w, "b.example");
}

static void advance(struct world *w, usec_t by)
{
    ahead += by + USEC_PER_SEC;
    for (int i = 0; i < 5; i++) {
        assert_int_equal(loop_step(w->loop, 10 * USEC_PER_MS), E_OK);
    }
}

static int raw_connect(const struct world *w)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(w->port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_true(fd >= 0);
    (void)connect(fd, (struct sockaddr *)&to, sizeof(to)); /* is under way */
    return fd;
}

/* Those who say nothing go when their handshake should be over; one too many goes at once. */
static void connections_have_limits(void **state)
{
    struct world *w = *state;
    enum { N = ADMISSION_CONNECTIONS_MAX };
    static int fds[N + 1];
    char byte;
    struct buf metrics;
    assert_int_equal(admission_open(w->loop, w->fd, &w->options, &w->admission), E_OK);
    for (int i = 0; i < N; i++) {
        fds[i] = raw_connect(w);
    }
    advance(w, 0);
    fds[N] = raw_connect(w);
    advance(w, 0);
    assert_int_equal(recv(fds[N], &byte, 1, 0), 0);
    assert_int_equal(recv(fds[N - 1], &byte, 1, 0), -1); /* still there */
    buf_init(&metrics, 1 << 16);
    admission_emit_metrics(w->admission, &metrics);
    buf_add_char(&metrics, '\0');
    assert_non_null(strstr(metrics.p, "lintel_admission_connections 256\n"));
    assert_non_null(strstr(metrics.p, "lintel_admission_connections_refused_total 1\n"));
    advance(w, TIMEOUT_ADMISSION_RECEIVE);
    assert_int_equal(recv(fds[0], &byte, 1, 0), 0);
    buf_reset(&metrics);
    admission_emit_metrics(w->admission, &metrics);
    buf_add_char(&metrics, '\0');
    assert_non_null(strstr(metrics.p, "lintel_admission_connections 0\n"));
    buf_fini(&metrics);
    for (int i = 0; i <= N; i++) {
        (void)close(fds[i]);
    }
    assert_int_equal(client_wait(w, client_run), 0); /* and then all is as before */
}

/* A new pair is taken within ADMISSION_FILES_PERIOD; a broken one is not, and nothing is lost. */
static void files_that_change(void **state)
{
    struct world *w = *state;
    assert_int_equal(admission_open(w->loop, w->fd, &w->options, &w->admission), E_OK);
    int64_t before = admission_not_after(w->admission);
    file_write(w->key, STR("broken"));
    advance(w, ADMISSION_FILES_PERIOD);
    assert_int_equal(admission_not_after(w->admission), before);
    pair_write(w, "b.example", -100);
    advance(w, ADMISSION_FILES_PERIOD);
    assert_int_not_equal(admission_not_after(w->admission), before);
    assert_int_equal(client_wait(w, client_of_b), 0);
}

static void files_that_are_bad_at_the_start(void **state)
{
    struct world *w = *state;
    pair_write(w, "a.example", 7200); /* has ended */
    assert_int_equal(admission_open(w->loop, w->fd, &w->options, &w->admission), E_REFUSED);
    file_write(w->certificate, STR("nothing"));
    assert_int_equal(admission_open(w->loop, w->fd, &w->options, &w->admission), E_REFUSED);
    (void)unlink(w->certificate);
    assert_int_equal(admission_open(w->loop, w->fd, &w->options, &w->admission), E_REFUSED);
    assert_null(w->admission);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(reviews_over_tls),
        TEST(connections_have_limits),
        TEST(files_that_change),
        TEST(files_that_are_bad_at_the_start),
    };
    (void)signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
