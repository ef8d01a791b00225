/* A question to the health port of a running Lintel. The one place of the command line that talks
 * over the network; it blocks, for at most ASK_TIMEOUT_S between two reads. */
#include "cli/ask.h"

#include "base/limits.h"
#include "base/mem.h"
#include "cli/out.h"
#include "cli/value.h"
#include "http/message.h"
#include "wire/http1.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { READ_BYTES = 64 * 1024 };

static socklen_t make_address(struct str server, struct sockaddr_storage *ret)
{
    struct str host;
    uint16_t port;
    struct ip ip;
    void *at = ret;
    *ret = (struct sockaddr_storage){0};
    if (cli_host_port_parse(server, &host, &port) != E_OK) {
        return 0;
    }
    if (str_eq(host, STR("localhost"))) {
        host = STR("127.0.0.1");
    }
    if (ip_parse(host, &ip) != E_OK) {
        return 0;
    }
    if (ip.family == 4) {
        struct sockaddr_in *v4 = at;
        v4->sin_family = AF_INET;
        v4->sin_port = htons(port);
        mem_copy(&v4->sin_addr, ip.bytes, 4);
        return sizeof(*v4);
    }
    struct sockaddr_in6 *v6 = at;
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(port);
    mem_copy(&v6->sin6_addr, ip.bytes, 16);
    return sizeof(*v6);
}

static enum err dial(struct str server, int *ret)
{
    struct sockaddr_storage to;
    const struct timeval limit = {.tv_sec = ASK_TIMEOUT_S};
    socklen_t n = make_address(server, &to);
    if (n == 0) {
        errno = EINVAL;
        return E_SYS;
    }
    int fd = socket(to.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return E_SYS;
    }
    if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) < 0 ||
        connect(fd, (const struct sockaddr *)(const void *)&to, n) < 0) {
        int error = errno;
        (void)close(fd); /* the first error counts */
        errno = error;
        return E_SYS;
    }
    *ret = fd;
    return E_OK;
}

static enum err send_request(int fd, struct str server, struct str target)
{
    struct buf head;
    buf_init(&head, READ_BYTES);
    buf_addf(&head, "GET %.*s HTTP/1.1\r\nhost: %.*s\r\nconnection: close\r\n\r\n", STR_ARG(target),
             STR_ARG(server));
    enum err e = head.bad ? E_LIMIT : out_write(fd, buf_str(&head));
    buf_fini(&head);
    return e;
}

static enum err receive_all(int fd, struct buf *bytes)
{
    while (buf_reserve(bytes, READ_BYTES)) {
        ssize_t n = recv(fd, bytes->p + bytes->n, READ_BYTES, 0);
        if (n == 0) {
            return E_OK;
        }
        if (n < 0 && errno != EINTR) {
            return errno == EAGAIN ? E_TIMEOUT : E_SYS;
        }
        bytes->n += n > 0 ? (size_t)n : 0;
    }
    return E_LIMIT;
}

static enum err parse(struct ask_answer *a)
{
    struct h1_scan scan = {0};
    struct h1_response head;
    enum h1_fault fault;
    struct field fields[HEAD_FIELDS_MAX];
    struct str outcome;
    size_t head_n;
    if (h1_head_scan(&scan, a->bytes.p, a->bytes.n, &head_n) != E_OK) {
        return E_PROTO;
    }
    TRY(h1_response_parse(a->bytes.p, head_n, false, fields, HEAD_FIELDS_MAX, &head, &fault));
    a->status = head.status;
    a->body = str_from(buf_str(&a->bytes), head_n);
    a->is_served = http_field_find(fields, head.field_n, STR("x-lintel-outcome"), &outcome) &&
                   str_eq(outcome, STR("served"));
    bool is_whole = head.body == H1_BODY_LENGTH && a->body.n == head.body_n;
    return is_whole ? E_OK : E_PROTO;
}

static enum err exchange(struct ask_answer *a, int fd, struct str server, struct str target)
{
    TRY(send_request(fd, server, target));
    TRY(receive_all(fd, &a->bytes));
    return parse(a);
}

enum err ask(struct ask_answer *ret, struct str server, struct str target)
{
    int fd;
    *ret = (struct ask_answer){0};
    buf_init(&ret->bytes, ASK_BYTES_MAX);
    enum err e = dial(server, &fd);
    if (e == E_OK) {
        e = exchange(ret, fd, server, target);
        int error = errno;
        (void)close(fd); /* nothing was written that could be lost */
        errno = error;
    }
    if (e == E_PROTO) {
        out_complain("%.*s: the answer is not one of Lintel's health port", STR_ARG(server));
    } else if (e != E_OK) {
        out_complain("%.*s: cannot be asked: %s; is Lintel running, and is that its health port?",
                     STR_ARG(server), e == E_SYS ? strerror(errno) : err_text(e));
    }
    return e;
}

void ask_fini(struct ask_answer *a)
{
    buf_fini(&a->bytes);
}

enum err ask_view(struct ask_answer *ret, struct str server, struct str target)
{
    TRY(ask(ret, server, target));
    if (ret->status != 200) {
        out_complain("the server answers with status %u: %.*s", ret->status, STR_ARG(ret->body));
        return E_REFUSED;
    }
    return E_OK;
}
