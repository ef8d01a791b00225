/* A fixed number of requests through the data path of a worker, in one process, so that callgrind
 * can count what one costs in user space: run it with two counts and take the difference. */
#include "rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static const char request[] = "GET /index.html?x=1 HTTP/1.1\r\nHost: a\r\nUser-Agent: bench/1.0\r\n"
                              "Accept: */*\r\nAccept-Encoding: gzip, deflate\r\n"
                              "Accept-Language: en\r\nCookie: session=0123456789abcdef\r\n\r\n";
static const char response[] =
    "HTTP/1.1 200 OK\r\nServer: x\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\n"
    "Content-Type: text/plain\r\nContent-Length: 128\r\nConnection: keep-alive\r\n\r\n"
    "0123456789012345678901234567890123456789012345678901234567890123"
    "0123456789012345678901234567890123456789012345678901234567890123";

int main(int argc, char **argv)
{
    long count = argc > 1 ? strtol(argv[1], NULL, 10) : 1000;
    char sink[65536];
    struct rig *r = rig_new();
    rig_set_endpoints(r, 1);
    int c = rig_client(r), u = -1, i;
    for (long n = 0; n < count; n++) {
        if (send(c, request, sizeof(request) - 1, 0) < 0) {
            return 1;
        }
        rig_tick(r);
        if (u < 0) {
            u = rig_accept_any(r, &i);
        }
        while (recv(u, sink, sizeof(sink), 0) <= 0) {
            rig_tick(r);
        }
        if (send(u, response, sizeof(response) - 1, 0) < 0) {
            return 1;
        }
        while (recv(c, sink, sizeof(sink), 0) <= 0) {
            rig_tick(r);
        }
    }
    (void)printf("%ld requests\n", count);
    return 0;
}
