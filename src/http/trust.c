/* The prefixes of the global shard: few, so each is looked at. */
#include "http/trust.h"

#include "base/mem.h"

bool http_trusts(const struct snap_global *global, const struct ip *ip)
{
    const struct snap_prefix *prefixes = snap_array_get(global, global->trusted);
    for (uint32_t i = 0; i < global->trusted.n; i++) {
        struct ip_prefix p = {.ip = {.family = prefixes[i].family}, .bits = prefixes[i].bits};
        mem_copy(p.ip.bytes, prefixes[i].address, sizeof(p.ip.bytes));
        if (ip_prefix_has(&p, ip)) {
            return true;
        }
    }
    return false;
}
