/* The nearest of several words to a mistyped one: restricted Damerau-Levenshtein distance. */
#include "base/nearest.h"

enum { WORD_MAX = 63 };

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

size_t edit_distance(struct str a, struct str b)
{
    size_t row[3][WORD_MAX + 1]; /* the rows i - 2, i - 1 and i of the usual table */
    if (a.n > WORD_MAX || b.n > WORD_MAX) {
        return SIZE_MAX;
    }
    for (size_t j = 0; j <= b.n; j++) {
        row[0][j] = j;
    }
    for (size_t i = 1; i <= a.n; i++) {
        size_t *now = row[i % 3];
        const size_t *above = row[(i + 2) % 3], *above2 = row[(i + 1) % 3];
        now[0] = i;
        for (size_t j = 1; j <= b.n; j++) {
            bool is_same = a.p[i - 1] == b.p[j - 1];
            now[j] = least(least(now[j - 1], above[j]) + 1, above[j - 1] + (is_same ? 0 : 1));
            if (i > 1 && j > 1 && a.p[i - 1] == b.p[j - 2] && a.p[i - 2] == b.p[j - 1]) {
                now[j] = least(now[j], above2[j - 2] + 1);
            }
        }
    }
    return row[a.n % 3][b.n];
}

struct nearest nearest_make(struct str word)
{
    /* More than a third of the word wrong is another word. */
    return (struct nearest){word, STR_EMPTY, word.n / 3 + 2};
}

void nearest_offer(struct nearest *n, struct str candidate)
{
    size_t distance = edit_distance(n->word, candidate);
    if (distance < n->distance) {
        n->distance = distance;
        n->best = candidate;
    }
}
