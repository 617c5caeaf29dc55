/* delta_code: places of a tensor counted with the first index fastest, as the files of composable-sft have them */
#include "peft/delta.h"

#include <stdlib.h>

typedef struct coded {
    int64_t place, from;
} coded;

/* The place of a value counted with the first index fastest, of one counted with the last index fastest. */
static int64_t first_fastest(shape s, int64_t at)
{
    int64_t index[SHAPE_MAX], place = 0;

    for (int d = s.n - 1; d >= 0; d--) {
        index[d] = at % s.d[d];
        at /= s.d[d];
    }
    for (int d = s.n - 1; d >= 0; d--)
        place = place * s.d[d] + index[d];
    return place;
}

static int64_t last_fastest(shape s, int64_t place)
{
    int64_t index[SHAPE_MAX], at = 0;

    for (int d = 0; d < s.n; d++) {
        index[d] = place % s.d[d];
        place /= s.d[d];
    }
    for (int d = 0; d < s.n; d++)
        at = at * s.d[d] + index[d];
    return at;
}

static int by_place(const void *a, const void *b)
{
    const int64_t x = ((const coded *)a)->place, y = ((const coded *)b)->place;

    return (x > y) - (x < y);
}

static status sorted(shape s, const int32_t *at, const int64_t *places, int64_t n, coded **out)
{
    coded *v = malloc(((size_t)n + 1) * sizeof *v);

    if (!v)
        return fail(STATUS_MEMORY, "no memory for %lld places", (long long)n);
    for (int64_t i = 0; i < n; i++)
        v[i] = (coded){at ? first_fastest(s, at[i]) : last_fastest(s, places[i]), i};
    qsort(v, (size_t)n, sizeof *v, by_place);
    *out = v;
    return STATUS_OK;
}

status delta_code(shape s, const int32_t *at, int64_t n, int64_t *steps, int64_t *order)
{
    coded *v;

    TRY(sorted(s, at, NULL, n, &v));
    for (int64_t i = 0; i < n; i++) {
        steps[i] = v[i].place - (i > 0 ? v[i - 1].place : 0);
        order[i] = v[i].from;
    }
    free(v);
    return STATUS_OK;
}

status delta_decode(shape s, const int64_t *steps, int64_t n, int32_t *at, int64_t *order, const char *what)
{
    const int64_t values = shape_count(s);
    int64_t      *places = malloc(((size_t)n + 1) * sizeof *places), place = 0;
    coded        *v;
    status        done = places ? STATUS_OK : fail(STATUS_MEMORY, "no memory for %lld places", (long long)n);

    if (done == STATUS_OK && values > INT32_MAX)
        done = fail(STATUS_UNSUPPORTED, "%s: has %lld values, at most %d can be read", what, (long long)values, INT32_MAX);
    for (int64_t i = 0; i < n && done == STATUS_OK; i++) {
        if (steps[i] < (i > 0) || steps[i] >= values - place)
            done = fail(STATUS_FORMAT, "%s: step %lld is %lld, must be %d..%lld", what, (long long)i, (long long)steps[i],
                        i > 0, (long long)(values - place) - 1);
        place += done == STATUS_OK ? steps[i] : 0;
        places[i] = place;
    }
    if (done == STATUS_OK)
        done = sorted(s, NULL, places, n, &v);
    for (int64_t i = 0; i < n && done == STATUS_OK; i++) {
        at[i] = (int32_t)v[i].place;
        order[i] = v[i].from;
    }
    if (done == STATUS_OK)
        free(v);
    free(places);
    return done;
}
