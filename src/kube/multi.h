/* kube/multi.h: libcurl's transfers in the event loop: its sockets and its one timer, by the
 * interface made for that (curl_multi_socket_action). Knows nothing of what is transferred.
 *
 * libcurl may not be entered from its own callbacks. So on_done is called outside of it, where
 * transfers may be added and taken off; callbacks of transfers only note what they want. */
#pragma once

#include <curl/curl.h>

#include "event/loop.h"

/* The first for the process makes libcurl take its memory from base/mem.h; libcurl counts. Errors:
 * E_NOMEM, E_REFUSED (it lacks TLS or HTTP/2). */
enum err kube_curl_open(void);
void kube_curl_close(void);

struct kube_multi {
    struct loop *loop;
    /* A transfer has ended; it is to be taken off. */
    void (*on_done)(void *arg, CURL *easy, CURLcode code);
    /* libcurl gave up on itself: end all transfers, close it and open it anew; not at once, but at
     * the end of the tick. */
    void (*on_broken)(void *arg);
    void *arg;

    /* its own */
    CURLM *curl; /* NULL: it is not open */
    struct list sockets;
    size_t socket_n;
    struct timer timer;
    struct deferred kick;
};

/* Zeroed but for the first four. m stays where it is. */
void kube_multi_init(struct kube_multi *m);
/* Errors: E_NOMEM. */
enum err kube_multi_open(struct kube_multi *m);
/* All transfers have been taken off before. It may be open or not. */
void kube_multi_close(struct kube_multi *m);
/* Nobody shall use the connection of that transfer any more, if it has not been heard since. */
void kube_multi_cut_silent(struct kube_multi *m, CURL *easy, usec_t heard_at);
