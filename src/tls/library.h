/* tls/library.h: OpenSSL as a whole. tls/ is its only home in Lintel's own code. */
#pragma once

#include "base/err.h"

/* Makes OpenSSL take its memory from base/mem.h, and no configuration file. Must come before
 * anything uses OpenSSL, libcurl included; it works without, then with memory of its own. Errors:
 * E_REFUSED (too late), E_NOMEM. */
enum err tls_library_start(void);
