/* convert: the values of a tensor in another type, and what that costs */
#include "recipes/convert.h"

#include "core/quant.h"
#include "core/quant_write.h"
#include "core/threads.h"
#include "layers/gguf_map.h"

#include <math.h>
#include <string.h>

enum { PIECE = 1 << 16, STRETCH = 2048 }; /* values: of a thread's piece, expanded at once */

typedef struct cost {
    double  largest_error, largest, errors, squares;
    int64_t bad; /* the first value that cannot be stored, or -1 */
} cost;

typedef struct job {
    const tensor *from;
    dtype         type;
    bool          plus;
    int64_t       n;
    uint8_t      *to;
    cost         *costs; /* one a piece */
} job;

bool convert_is_plain(dtype t)
{
    return t == TYPE_F32 || t == TYPE_F16 || t == TYPE_BF16;
}

static size_t bytes_before(dtype t, int64_t values)
{
    return (size_t)(values / dtype_block(t) * dtype_block_bytes(t));
}

static void count(const float *v, const double *exact, const float *back, int64_t n, int64_t first, cost *c)
{
    for (int64_t i = 0; i < n; i++) {
        const double x = exact ? exact[i] : (double)v[i], e = fabs((double)back[i] - x);
        if (!isfinite(e) && c->bad < 0)
            c->bad = first + i;
        c->largest = fmax(c->largest, fabs(x));
        c->largest_error = fmax(c->largest_error, e);
        c->errors += e * e;
        c->squares += x * x;
    }
}

static void shift(const float *v, int64_t n, float by, float *to)
{
    for (int64_t i = 0; i < n; i++)
        to[i] = v[i] + by;
}

static void store_piece(void *context, int64_t piece)
{
    const job    *j = context;
    const int64_t end = (piece + 1) * PIECE < j->n ? (piece + 1) * PIECE : j->n;
    cost         *c = &j->costs[piece];
    float         v[STRETCH], more[STRETCH], back[STRETCH];
    double        exact[STRETCH];

    *c = (cost){.bad = -1};
    for (int64_t at = piece * PIECE; at < end; at += STRETCH) {
        const int64_t  n = end - at < STRETCH ? end - at : STRETCH;
        const uint8_t *from = (const uint8_t *)j->from->v + bytes_before(j->from->type, at);
        uint8_t       *to = j->to + bytes_before(j->type, at);
        const bool     wide = j->from->type == TYPE_F64;

        quant_expand(j->from->type, from, n, v);
        if (wide)
            memcpy(exact, from, (size_t)n * sizeof *exact);
        if (j->plus)
            shift(v, n, 1, more);
        quant_write(j->type, j->plus ? more : v, n, to);
        quant_expand(j->type, to, n, back);
        if (j->plus)
            shift(back, n, -1, back);
        count(v, wide ? exact : NULL, back, n, at, c);
    }
}

static status store(convert *c, convert_item *x, const tensor *from, const void **bytes)
{
    const int64_t n = shape_count(from->s), pieces = (n + PIECE - 1) / PIECE;
    tensor        to = {.s = from->s, .type = x->type};
    job           j = {.from = from, .type = x->type, .plus = x->plus, .n = n};

    j.to = arena_take(&c->work, tensor_bytes(&to), 1);
    if (!j.to)
        return STATUS_MEMORY;
    TRY_TAKE(j.costs, &c->work, pieces);
    threads_run(pieces, store_piece, &j);
    for (int64_t i = 0; i < pieces; i++) {
        const cost *k = &j.costs[i];
        if (k->bad >= 0) {
            float         v[256];
            const int64_t some = dtype_block(from->type), at = k->bad / some * some;
            quant_expand(from->type, (const uint8_t *)from->v + bytes_before(from->type, at), some, v);
            return fail(STATUS_NUMERIC, "%s: value %lld is %g, which %s cannot hold; nothing was written",
                        x->name, (long long)k->bad, (double)v[k->bad - at], dtype_name(x->type));
        }
        x->largest_error = fmax(x->largest_error, k->largest_error);
        x->largest = fmax(x->largest, k->largest);
        x->errors += k->errors;
        x->squares += k->squares;
    }
    *bytes = j.to;
    return STATUS_OK;
}

/* Rows become columns; blocks run along a row, so that those are expanded first. */
static status turn(convert *c, tensor *t)
{
    const weight w = {.t = *t, .turned = true};

    return dtype_block(t->type) > 1 ? weights_expanded(&c->work, &w, t) : weights_turned(&c->work, t, t);
}

static status fill(void *context, int64_t item, const void **bytes)
{
    convert      *c = context;
    convert_item *x = &c->items[item];
    tensor        from = x->from;

    arena_rewind(&c->work, 0);
    if (x->heads) {
        const int64_t rows = from.s.d[0];
        void         *turned = arena_take(&c->work, tensor_bytes(&from), 1);
        if (!turned)
            return STATUS_MEMORY;
        gguf_permute(from.v, turned, x->heads, rows / x->heads, tensor_bytes(&from) / (size_t)rows, true);
        from.v = turned;
    }
    if (x->turned)
        TRY(turn(c, &from));
    *bytes = from.v;
    return from.type == x->type && !x->plus ? STATUS_OK : store(c, x, &from, bytes);
}

tensor_fill convert_fill(convert *c)
{
    return (tensor_fill){.run = fill, .context = c};
}

void convert_print(const convert *c, FILE *out)
{
    for (int from = 0; from < TYPE_COUNT; from++)
        for (int to = 0; to < TYPE_COUNT; to++) {
            double worst = 0, errors = 0, squares = 0;
            int    n = 0;
            for (int i = 0; i < c->n; i++) {
                const convert_item *x = &c->items[i];
                if ((int)x->from.type != from || (int)x->type != to)
                    continue;
                n++;
                worst = fmax(worst, x->largest > 0 ? x->largest_error / x->largest : 0);
                errors += x->errors;
                squares += x->squares;
            }
            if (!n)
                continue;
            fprintf(out, "%s to %s: %d tensor%s, ", dtype_name((dtype)from), dtype_name((dtype)to), n,
                    n == 1 ? "" : "s");
            if (errors > 0)
                fprintf(out, "largest error %.2g of a tensor's largest value, rms error %.2g of the rms\n",
                        worst, sqrt(errors / squares));
            else
                fprintf(out, "lossless\n");
        }
    if (c->short_rows)
        fprintf(out, "%d tensor%s rows that are no whole blocks of %s: stored as %s\n", c->short_rows,
                c->short_rows == 1 ? " has" : "s have", dtype_name(c->type), c->instead);
}
