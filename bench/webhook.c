/* What one review costs with N Ingresses loaded: a server as the controller has it, in a process of
 * its own, asked over one kept-alive TLS connection on the loopback.
 *   bench/webhook [INGRESSES [REVIEWS]]        default 10000 5000
 * Half of the reviews are of new Ingresses, half want a path that is taken. Prints one line. */
#include "admission/admission.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "compile/compile.h"
#include "log/log.h"
#include "os/listen.h"
#include "source/manifest.h"
#include "tls/certificate.h"

enum { TEXT_MAX = 16 * 1024, HOSTS_SHARED = 10 };

static const struct compile_options options = {
    .controller = STR_INIT("lintel.dev/ingress-controller"),
    .ingress_class = STR_INIT("lintel"),
    .default_namespace = STR_INIT(""),
    .default_service = STR_INIT(""),
    .node_name = STR_INIT(""),
};

static void need(bool is_good, const char *what)
{
    if (!is_good) {
        fprintf(stderr, "webhook: %s\n", what);
        exit(1);
    }
}

/* ---- the server ---- */

static void take(void *store, struct object *o)
{
    need(store_put(store, o) == E_OK, "store");
}

static void complain(void *arg, const struct diag *d)
{
    (void)arg;
    fprintf(stderr, "webhook: %.*s\n", STR_ARG(d->what));
}

static enum err ignore(void *arg, const struct snap_shard *shard)
{
    (void)arg;
    (void)shard;
    return E_OK;
}

static bool is_ours(const void *arg, const struct ingress *in)
{
    const char *why;
    return compile_is_ours(arg, in, &why);
}

static enum err judge(const void *arg, const struct ingress *in, diag_fn *fn, void *fn_arg)
{
    return compile_judge(arg, in, fn, fn_arg);
}

/* Ten Ingresses share each host. */
static struct compile *load(int n)
{
    static const char class[] =
        "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: "
        "{name: lintel}\nspec: {controller: lintel.dev/ingress-controller}\n";
    struct store *store;
    struct compile *compile;
    char text[1024];
    need(store_new(&store) == E_OK && compile_new(store, &options, &compile) == E_OK, "memory");
    need(manifest_parse(STR("c.yaml"), STR(class), take, complain, store) == E_OK, "class");
    for (int i = 0; i < n; i++) {
        (void)snprintf(
            text, sizeof(text),
            "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: i%d}\n"
            "spec:\n  ingressClassName: lintel\n  rules:\n  - host: h%d.test\n    http:\n"
            "      paths:\n      - {path: /p%d, pathType: Prefix, backend: {service: "
            "{name: s%d, port: {number: 80}}}}\n",
            i, i / HOSTS_SHARED, i, i);
        need(manifest_parse(STR("i.yaml"), str_from_cstr(text), take, complain, store) == E_OK,
             "Ingress");
    }
    need(compile_run(compile, ignore, NULL) == E_OK, "compile");
    return compile;
}

static void file_write(const char *path, const struct buf *text)
{
    FILE *f = fopen(path, "w");
    need(f != NULL && fwrite(text->p, 1, text->n, f) == text->n && fclose(f) == 0, path);
}

static void pair_write(const char *certificate, const char *key)
{
    static const struct str names[] = {STR_INIT("localhost")};
    struct tls_make make = {.common_name = "bench",
                            .names = names,
                            .name_n = 1,
                            .not_before = (int64_t)time(NULL) - 60,
                            .not_after = (int64_t)time(NULL) + 3600};
    struct buf parts[3];
    for (int i = 0; i < 3; i++) {
        buf_init(&parts[i], 1 << 16);
    }
    need(tls_certificate_make(&make, &parts[0], &parts[1], &parts[2]) == E_OK, "certificate");
    file_write(certificate, &parts[1]);
    file_write(key, &parts[2]);
}

_Noreturn static void serve(int fd, int n, int ready)
{
    char folder[] = "/tmp/lintel-bench-XXXXXX", certificate[64], key[64];
    struct loop *loop;
    struct admission *admission;
    log_init("webhook", LOG_ERROR);
    need(mkdtemp(folder) != NULL && loop_new(&loop) == E_OK, "loop");
    (void)snprintf(certificate, sizeof(certificate), "%s/c", folder);
    (void)snprintf(key, sizeof(key), "%s/k", folder);
    pair_write(certificate, key);
    struct admission_options o = {
        .judge = {load(n), is_ours,                  judge},
        .certificates = {.certificate_file = certificate,       .key_file = key},
    };
    need(admission_open(loop, fd, &o, &admission) == E_OK, "admission");
    (void)unlink(certificate);
    (void)unlink(key);
    (void)rmdir(folder);
    need(write(ready, "", 1) == 1, "pipe");
    (void)loop_run(loop);
    exit(1);
}

/* ---- the client ---- */

static SSL *client_connect(uint16_t port)
{
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    SSL *ssl = SSL_new(SSL_CTX_new(TLS_client_method()));
    need(connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0 && SSL_set_fd(ssl, fd) == 1 &&
             SSL_connect(ssl) == 1,
         "connect");
    return ssl;
}

static int review_write(char *text, int i, int n)
{
    bool is_taken = i % 2 == 1;
    char body[TEXT_MAX / 2];
    int size = snprintf(
        body, sizeof(body),
        "{\"apiVersion\":\"admission.k8s.io/v1\",\"kind\":\"AdmissionReview\",\"request\":{\"uid\":"
        "\"705ab4f5-6393-11e8-b7cc-42010a800002\",\"kind\":{\"group\":\"networking.k8s.io\","
        "\"version\":\"v1\",\"kind\":\"Ingress\"},\"operation\":\"CREATE\",\"object\":{"
        "\"metadata\":{"
        "\"name\":\"new\",\"namespace\":\"default\"},\"spec\":{\"ingressClassName\":\"lintel\","
        "\"rules\":[{\"host\":\"h%d.test\",\"http\":{\"paths\":[{\"path\":\"/%s%d\",\"pathType\":"
        "\"Prefix\",\"backend\":{\"service\":{\"name\":\"s\",\"port\":{\"number\":80}}}}]}}]}}}}",
        i % n / HOSTS_SHARED, is_taken ? "p" : "free", i % n);
    return snprintf(text, TEXT_MAX, "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%s",
                    size, body);
}

static double now_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static double review(SSL *ssl, int i, int n)
{
    char text[TEXT_MAX];
    int size = review_write(text, i, n), got = 0;
    double began = now_ms();
    need(SSL_write(ssl, text, size) == size, "write");
    do { /* the answer ends with a line end behind its last brace */
        int more = SSL_read(ssl, text + got, TEXT_MAX - got - 1);
        need(more > 0, "read");
        got += more;
        text[got] = '\0';
    } while (got < 2 || strcmp(text + got - 2, "}\n") != 0);
    double took = now_ms() - began;
    need(strstr(text, i % 2 == 1 ? "\"allowed\":false" : "\"allowed\":true") != NULL, text);
    return took;
}

static int number_cmp(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void measure(uint16_t port, int n, int reviews)
{
    SSL *ssl = client_connect(port);
    double *took = calloc((size_t)reviews, sizeof(*took));
    need(took != NULL, "memory");
    for (int i = 0; i < reviews; i++) {
        took[i] = review(ssl, i * 7919, n);
    }
    qsort(took, (size_t)reviews, sizeof(*took), number_cmp);
    printf("{\"ingresses\": %d, \"reviews\": %d, \"p50_ms\": %.3f, \"p99_ms\": %.3f, \"max_ms\": "
           "%.3f}\n",
           n, reviews, took[reviews / 2], took[reviews * 99 / 100], took[reviews - 1]);
    free(took);
}

int main(int argc, char **argv)
{
    int n = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 10000;
    int reviews = argc > 2 ? (int)strtol(argv[2], NULL, 10) : 5000;
    const struct listen_options how = {.address = "127.0.0.1"};
    int fd, ready[2];
    char byte;
    uint16_t port;
    need(n >= HOSTS_SHARED && reviews > 0, "usage: webhook [INGRESSES [REVIEWS]]");
    need(listen_open(&how, &fd, &port) == E_OK && pipe(ready) == 0, "listen");
    pid_t pid = fork();
    need(pid >= 0, "fork");
    if (pid == 0) {
        serve(fd, n, ready[1]);
    }
    (void)close(ready[1]);
    need(read(ready[0], &byte, 1) == 1, "the server has ended");
    measure(port, n, reviews);
    (void)kill(pid, SIGTERM);
    (void)waitpid(pid, NULL, 0);
    return 0;
}
