/* source/resolver_answer.h: from the answer of c-ares to addresses that may be used. For
 * resolver.c. */
#pragma once

#include "base/err.h"
#include "wire/ip.h"

struct ares_addrinfo;

struct resolver_answer {
    struct ip *addresses; /* sorted, unique, usable */
    uint32_t address_n;
    bool is_refused; /* there were some, but none that may be used */
};

/* The caller frees the addresses. Errors: E_NOMEM. */
enum err resolver_answer_make(const struct ares_addrinfo *info, struct resolver_answer *ret);
