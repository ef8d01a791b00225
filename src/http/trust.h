/* http/trust.h: whose word about a client is believed: the proxies in front of us. */
#pragma once

#include "snapshot/schema.h"
#include "wire/ip.h"

/* True when ip is in one of the prefixes of --proxy-real-ip-cidr. */
bool http_trusts(const struct snap_global *global, const struct ip *ip);
