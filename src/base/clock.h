/* base/clock.h: time. Monotonic microseconds for waiting, wall-clock microseconds for people.
 * The event loop reads the clock once per tick and passes it on; call these only at borders. */
#pragma once

#include <stdint.h>

typedef uint64_t usec_t;

#define USEC_PER_MS  ((usec_t)1000)
#define USEC_PER_SEC ((usec_t)1000000)

/* CLOCK_MONOTONIC. */
usec_t clock_monotonic(void);
/* CLOCK_REALTIME, since 1970-01-01 UTC. */
usec_t clock_wall(void);
/* CPU time this process has used. */
usec_t clock_cpu(void);
