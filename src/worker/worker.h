/* worker/worker.h: the process that faces the internet. */
#pragma once

/* Runs a worker born with the heritage in descriptor heritage_fd until it is told to go; returns
 * the exit status. */
int worker_main(int heritage_fd);
