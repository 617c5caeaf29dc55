/* lottery_select: see the header. Scores are not negative, so their bits are in the order of their values: the k-th
 * largest is found by counting the upper half of the bits, then the lower half of those at the border. Nothing is sorted
 * and no score is kept. */
#include "peft/lottery_select.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { HALF = 1 << 16 };

static uint32_t score_bits(const lottery_tensor *x, int64_t i)
{
    const float score = fabsf(x->start ? x->now[i] - x->start[i] : x->now[i]);
    uint32_t    bits;

    memcpy(&bits, &score, sizeof bits);
    return bits;
}

/* What is free to be chosen, and how much of that moved. */
typedef struct lottery_free {
    int64_t values, moved;
} lottery_free;

static status count_free(const lottery_tensor *x, int n, lottery_free *out)
{
    *out = (lottery_free){0};
    for (int t = 0; t < n; t++)
        for (int64_t i = 0; i < x[t].n; i++) {
            if (x[t].mask[i])
                continue;
            const uint32_t bits = score_bits(&x[t], i);
            if (bits > 0x7F800000u)
                return fail(STATUS_NUMERIC, "%s: the score of value %lld is not a number", x[t].name, (long long)i);
            out->values++;
            out->moved += bits != 0;
        }
    return STATUS_OK;
}

/* Counts by one half of the bits; `upper` >= 0: the lower one, of scores with this upper one. */
static void count_half(const lottery_tensor *x, int n, int64_t upper, int64_t *counts)
{
    memset(counts, 0, HALF * sizeof *counts);
    for (int t = 0; t < n; t++)
        for (int64_t i = 0; i < x[t].n; i++) {
            if (x[t].mask[i])
                continue;
            const uint32_t bits = score_bits(&x[t], i);
            if (upper < 0)
                counts[bits >> 16]++;
            else if (bits >> 16 == (uint32_t)upper)
                counts[bits & (HALF - 1)]++;
        }
}

/* The largest half with at least *k scores in it and above; *k becomes how many of those in it are wanted. */
static uint32_t border(const int64_t *counts, int64_t *k)
{
    for (int64_t half = HALF - 1; half > 0; half--) {
        if (counts[half] >= *k)
            return (uint32_t)half;
        *k -= counts[half];
    }
    return 0;
}

/* Marks what is above the border, and of those on it the first `equal` ones, or all. */
static int64_t mark(lottery_tensor *x, uint32_t at, int64_t equal, lottery_ties ties)
{
    int64_t marked = 0;

    for (int64_t i = 0; i < x->n; i++) {
        const uint32_t bits = x->mask[i] ? 0 : score_bits(x, i);
        if (x->mask[i] || bits < at || (bits == at && ties == LOTTERY_CAP && equal == 0))
            continue;
        equal -= bits == at && ties == LOTTERY_CAP;
        x->mask[i] = 1;
        marked++;
    }
    return marked;
}

static int64_t at_border(const lottery_tensor *x, uint32_t at)
{
    int64_t n = 0;

    for (int64_t i = 0; i < x->n; i++)
        n += !x->mask[i] && score_bits(x, i) == at;
    return n;
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(lottery_tensor *const *)a)->name, (*(lottery_tensor *const *)b)->name);
}

static int64_t mark_all(lottery_tensor **x, int n, uint32_t at, int64_t equal, lottery_ties ties)
{
    int64_t marked = 0;

    for (int t = 0; t < n; t++) {
        const int64_t here = at_border(x[t], at), take = here < equal ? here : equal;
        marked += mark(x[t], at, take, ties);
        equal -= take;
    }
    return marked;
}

static status choose(lottery_tensor *x, int n, int64_t k, lottery_ties ties, int64_t *chosen)
{
    int64_t         *counts = malloc(HALF * sizeof *counts);
    lottery_tensor **order = malloc(((size_t)n + 1) * sizeof(lottery_tensor *));
    status           s = STATUS_OK;

    if (counts && order) {
        for (int t = 0; t < n; t++)
            order[t] = &x[t];
        qsort(order, (size_t)n, sizeof(lottery_tensor *), by_name);
        int64_t left = k;
        count_half(x, n, -1, counts);
        const uint32_t upper = border(counts, &left);
        count_half(x, n, upper, counts);
        const uint32_t lower = border(counts, &left);
        *chosen = mark_all(order, n, upper << 16 | lower, left, ties);
    } else
        s = fail(STATUS_MEMORY, "no memory to choose values");
    free(counts);
    free(order);
    return s;
}

static status select_among(lottery_tensor *x, int n, int64_t k, lottery_ties ties, bool moved, int64_t *chosen)
{
    lottery_free at_hand;

    TRY(count_free(x, n, &at_hand));
    if (k < 1 || k > at_hand.values)
        return fail(STATUS_USAGE, "%lld values are to be chosen, must be 1..%lld: so many are free", (long long)k,
                    (long long)at_hand.values);
    if (moved && k > at_hand.moved)
        return fail(STATUS_USAGE, "%lld values are to be chosen, but only %lld of %lld moved; take a smaller k or train "
                    "longer", (long long)k, (long long)at_hand.moved, (long long)at_hand.values);
    return choose(x, n, k, ties, chosen);
}

status lottery_select(lottery_tensor *x, int n, int64_t k, lottery_ties ties, int64_t *chosen)
{
    return select_among(x, n, k, ties, false, chosen);
}

status lottery_select_moved(lottery_tensor *x, int n, int64_t k, lottery_ties ties, int64_t *chosen)
{
    return select_among(x, n, k, ties, true, chosen);
}

status lottery_count(double k, int64_t values, int64_t *out)
{
    *out = (int64_t)(k < 1 ? k * (double)values : k);
    if (!(k >= 1) || k == (double)*out) {
        if (*out >= 1 && *out <= values)
            return STATUS_OK;
        return fail(STATUS_USAGE, "k is %g: %lld values, must be 1..%lld", k, (long long)*out, (long long)values);
    }
    return fail(STATUS_USAGE, "k is %g, must be a whole number, or a share below 1", k);
}
