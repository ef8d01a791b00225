/* Runs a fuzz target without a fuzzer: every file of the corpus directory (argument 1) as it is,
 * then a fixed number of mutations of each, from a fixed seed, so that a run is repeatable and
 * short. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { FILE_MAX = 1 << 20, MUTATIONS_PER_FILE = 400, RANDOM_INPUTS = 2000, RANDOM_MAX = 512 };

static uint64_t seed = 0x9e3779b97f4a7c15U;

static uint64_t next_random(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

/* Each input in a block of its own size, so that a sanitizer sees the first byte too many. */
static void run_one(const uint8_t *data, size_t n)
{
    uint8_t *copy = malloc(n > 0 ? n : 1);
    if (copy == NULL) {
        exit(2);
    }
    memcpy(copy, data, n);
    (void)LLVMFuzzerTestOneInput(copy, n);
    free(copy);
}

static size_t mutate(uint8_t *data, size_t n)
{
    for (uint64_t edits = 1 + next_random() % 4; edits > 0 && n > 0; edits--) {
        size_t at = next_random() % n;
        switch (next_random() % 5) {
        case 0:
            data[at] ^= (uint8_t)(1U << (next_random() % 8));
            break;
        case 1:
            data[at] = (uint8_t)next_random();
            break;
        case 2:
            n = at; /* cut off */
            break;
        case 3: /* drop a byte */
            memmove(data + at, data + at + 1, n - at - 1);
            n--;
            break;
        default: { /* copy one part over another */
            size_t from = next_random() % n;
            size_t len = next_random() % 16;
            if (from + len <= n && at + len <= n) {
                memmove(data + at, data + from, len);
            }
        }
        }
    }
    return n;
}

static size_t run_file(const char *dir, const char *name)
{
    static uint8_t data[FILE_MAX], work[FILE_MAX];
    char path[4096];
    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    FILE *f = fopen(path, "rb");
    if (f == NULL) {
        return 0;
    }
    size_t n = fread(data, 1, sizeof(data), f);
    (void)fclose(f);
    run_one(data, n);
    for (int i = 0; i < MUTATIONS_PER_FILE; i++) {
        memcpy(work, data, n);
        run_one(work, mutate(work, n));
    }
    return 1 + MUTATIONS_PER_FILE;
}

int main(int argc, char **argv)
{
    size_t runs = 0;
    DIR *dir = argc > 1 ? opendir(argv[1]) : NULL;
    if (dir == NULL) {
        (void)fprintf(stderr, "no corpus directory: %s\n", argc > 1 ? argv[1] : "(no argument)");
        return 2;
    }
    for (const struct dirent *e; (e = readdir(dir)) != NULL;) {
        if (e->d_name[0] != '.') {
            runs += run_file(argv[1], e->d_name);
        }
    }
    (void)closedir(dir);
    if (runs == 0) {
        (void)fprintf(stderr, "the corpus is empty\n");
        return 2;
    }
    for (int i = 0; i < RANDOM_INPUTS; i++) {
        uint8_t data[RANDOM_MAX];
        size_t n = next_random() % sizeof(data);
        for (size_t j = 0; j < n; j++) {
            data[j] = (uint8_t)next_random();
        }
        run_one(data, n);
    }
    (void)printf("%zu inputs\n", runs + RANDOM_INPUTS);
    return 0;
}
