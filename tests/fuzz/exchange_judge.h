/* What fuzz_exchange.c recorded of one run, and the judgement of it. */
#pragma once

#include "base/str.h"
#include "wire/http1.h"

#include <stddef.h>

enum { CLIENTS_MAX = 8, UPSTREAMS_MAX = 48, SEEN_MAX = 64 };

struct bytes { /* grows; for the harness only */
    char *p;
    size_t n, cap;
};

void bytes_add(struct bytes *b, const char *p, size_t n);
void bytes_fini(struct bytes *b);

/* One message at the start of some bytes. Strs point into these. */
struct message {
    bool has_head, is_complete;
    bool is_until_close; /* only the end of the connection ends it */
    bool is_own;         /* a response that carries x-lintel-reason */
    uint16_t status;
    uint8_t client; /* request: the last byte of X-Real-IP; 0 = none */
    struct str method, target;
    struct bytes body; /* decoded */
    size_t n;          /* bytes of it that were there */
};

/* Errors: E_PROTO (no such message), E_AGAIN (begins well, is not all there). */
enum err message_parse(struct str s, bool is_request, bool is_head, struct message *ret);
void message_fini(struct message *m);

struct client {
    int fd; /* -1: closed by the script */
    bool is_slow, is_over;
    struct bytes sent, received;
};

struct seen { /* a request that came to an endpoint */
    uint8_t client;
    unsigned order; /* over all endpoints */
    size_t begin;   /* in received */
    size_t answer;  /* in sent: where its response begins */
};

struct upstream {
    int fd;
    bool is_slow, is_over;
    bool has_ended; /* the script ended this side: what ends with the connection is whole */
    struct bytes sent, received;
    size_t parsed_n; /* of received: requests that are complete */
    struct seen seen[SEEN_MAX];
    int seen_n;
};

struct record {
    struct client clients[CLIENTS_MAX];
    int client_n;
    struct upstream upstreams[UPSTREAMS_MAX];
    int upstream_n;
    unsigned order;
    uint64_t retries;
    bool has_fault; /* system calls lied, so an end of a connection proves nothing */
};

/* Ends the process with a word on what is wrong. */
void judge(const struct record *r);
