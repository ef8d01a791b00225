/* Entry point of lintel-worker. Started by the supervisor only: argument 1 is the number of the
 * descriptor that holds the heritage. */
#include "base/str.h"
#include "worker/worker.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    uint64_t fd;
    if (argc != 2 || !str_to_u64(str_from_cstr(argv[1]), INT_MAX, &fd)) {
        (void)fputs("lintel-worker is started by `lintel run`; it has no command line of its own\n",
                    stderr);
        return EXIT_FAILURE;
    }
    return worker_main((int)fd);
}
