/* relative: buckets of distances between a key and a query (Raffel et al. 2020)
 *
 * d = key - query. A side has B buckets: all of them, or with `both` half of them, those of keys behind the
 * query after those before it. With e = B / 2 and r = |d| (not `both`: max(-d, 0)) the bucket of a side is r
 * below e, else
 *     min(B - 1, e + floor(log(r / e) / log(reach / e) (B - e))).
 * It only grows with r, so that the first distance of each says all. */
#ifndef AUTOGRAD_OPS_RELATIVE_H
#define AUTOGRAD_OPS_RELATIVE_H

#include "autograd/op.h"

#include <math.h>

#ifdef __CUDACC__
#define RELATIVE_FN static inline __host__ __device__
#else
#define RELATIVE_FN static inline
#endif

enum { RELATIVE_SIDE_MAX = 128 };

typedef struct relative {
    int32_t side, exact; /* buckets of a side; distances with one of their own */
    bool    both;
    int32_t first[RELATIVE_SIDE_MAX];
} relative;

static inline int32_t relative_by_log(const relative *b, int32_t reach, int32_t r)
{
    const double e = b->exact, at = log(r / e) / log(reach / e) * (b->side - b->exact);

    return r < b->exact ? r : at >= b->side - b->exact ? b->side - 1 : b->exact + (int32_t)at;
}

/* buckets: rows of the table. For settings that relative_want lets through. */
static inline void relative_open(relative *b, int64_t buckets, int32_t reach, bool both)
{
    b->side = (int32_t)(both ? buckets / 2 : buckets);
    b->exact = b->side / 2;
    b->both = both;
    for (int32_t i = 0; i < b->side; i++) {
        int32_t lo = i < b->exact ? i : b->exact, hi = reach; /* the last bucket has `reach` at the latest */
        while (i >= b->exact && lo < hi) {
            const int32_t middle = lo + (hi - lo) / 2;
            if (relative_by_log(b, reach, middle) >= i)
                hi = middle;
            else
                lo = middle + 1;
        }
        b->first[i] = lo;
    }
}

RELATIVE_FN int32_t relative_bucket(const relative *b, int32_t d)
{
    const int32_t r = d < 0 ? -d : b->both ? d : 0, base = b->both && d > 0 ? b->side : 0;
    int32_t       lo = b->exact, hi = b->side;

    if (r < b->exact)
        return base + r;
    while (hi - lo > 1) {
        const int32_t middle = (lo + hi) / 2;
        if (b->first[middle] <= r)
            lo = middle;
        else
            hi = middle;
    }
    return base + lo;
}

/* For shape rules: a table of buckets for H heads. */
static inline status relative_want(const char *op, const tensor *table, dtype type, int64_t H, int32_t reach,
                                   bool both)
{
    const int64_t n = shape_count(table->s), buckets = n / H, side = both ? buckets / 2 : buckets;

    if (table->type != type || n % H != 0)
        return fail(STATUS_SHAPE, "%s: the bias table is %s %s, must be %s with %lld values a bucket", op,
                    dtype_name(table->type), shape_text(table->s), dtype_name(type), (long long)H);
    if (side < 2 || side > RELATIVE_SIDE_MAX || reach <= side / 2)
        return fail(STATUS_SHAPE,
                    "%s: the bias table has %lld buckets a side and reaches %d; must be 2..%d, and reach beyond "
                    "half of them", op, (long long)side, reach, RELATIVE_SIDE_MAX);
    return STATUS_OK;
}

#endif
