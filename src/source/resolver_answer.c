/* Which addresses of an answer count: each once, none that leads to this host or link. */
#include "source/resolver_answer.h"

#include <netinet/in.h>

#include <ares.h>

#include "base/mem.h"

static bool ip_from_node(const struct ares_addrinfo_node *node, struct ip *ret)
{
    *ret = (struct ip){0};
    if (node->ai_family == AF_INET) {
        const struct sockaddr_in *v4 = (const void *)node->ai_addr;
        ret->family = 4;
        mem_copy(ret->bytes, &v4->sin_addr, sizeof(v4->sin_addr));
        return true;
    }
    if (node->ai_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const void *)node->ai_addr;
        ret->family = 6;
        mem_copy(ret->bytes, &v6->sin6_addr, sizeof(v6->sin6_addr));
        return true;
    }
    return false;
}

static bool is_allowed(const struct ip *ip)
{
    return !ip_is_loopback(ip) && !ip_is_unusable(ip);
}

/* Insertion keeps them sorted; a DNS answer has few. */
static void answer_add(struct resolver_answer *a, const struct ip *ip)
{
    uint32_t at = a->address_n;
    while (at > 0 && ip_cmp(&a->addresses[at - 1], ip) > 0) {
        at--;
    }
    if (at > 0 && ip_cmp(&a->addresses[at - 1], ip) == 0) {
        return;
    }
    for (uint32_t i = a->address_n; i > at; i--) {
        a->addresses[i] = a->addresses[i - 1];
    }
    a->addresses[at] = *ip;
    a->address_n++;
}

static size_t nodes_n(const struct ares_addrinfo *info)
{
    size_t n = 0;
    for (const struct ares_addrinfo_node *node = info->nodes; node != NULL; node = node->ai_next) {
        n++;
    }
    return n;
}

enum err resolver_answer_make(const struct ares_addrinfo *info, struct resolver_answer *ret)
{
    struct resolver_answer a = {.addresses = mem_calloc(nodes_n(info) + 1, sizeof(*a.addresses))};
    if (a.addresses == NULL) {
        return E_NOMEM;
    }
    for (const struct ares_addrinfo_node *node = info->nodes; node != NULL; node = node->ai_next) {
        struct ip ip;
        if (!ip_from_node(node, &ip)) {
            continue;
        }
        if (is_allowed(&ip)) {
            answer_add(&a, &ip);
        } else {
            a.is_refused = true;
        }
    }
    a.is_refused = a.is_refused && a.address_n == 0;
    *ret = a;
    return E_OK;
}
