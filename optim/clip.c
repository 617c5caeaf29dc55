/* clip: norms of the flat gradient */
#include "optim/clip.h"

#include "core/compiler.h"
#include "core/threads.h"
#include "optim/flat_kernels.h"
#include "optim/flat_rule.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

enum { PIECE = FLAT_PIECE, LANES = SQUARE_LANES };

static const key clip_rows[] = {
    {.name = "clip",
     .kind = KEY_REAL,
     .offset = offsetof(clip_options, clip),
     .preset = "0",
     .lo = 0,
     .hi = 1e30,
     .help = "Largest norm of the whole gradient; 0 is off."},
    {.name = "clip_norm",
     .kind = KEY_CHOICE,
     .offset = offsetof(clip_options, clip_norm),
     .preset = "2",
     .choices = "2|inf",
     .help = "Which norm: length or largest magnitude."},
    {.name = "clip_value",
     .kind = KEY_REAL,
     .offset = offsetof(clip_options, clip_value),
     .preset = "0",
     .lo = 0,
     .hi = 1e30,
     .help = "Largest magnitude of a value; 0 is off."},
};
const key_table clip_keys = KEY_TABLE("clip", clip_rows, clip_options);

typedef struct sum_args {
    const float *g;
    float *out; /* clip_by_value */
    int64_t n;
    double scale, limit;
    double *part; /* one a piece */
} sum_args;

static int64_t piece_count(int64_t n)
{
    return (n + PIECE - 1) / PIECE;
}

static void square_piece(void *context, int64_t piece)
{
    const sum_args *a = context;
    const float *g = a->g + piece * PIECE;
    const int64_t left = a->n - piece * PIECE, n = left < PIECE ? left : PIECE;
    double lane[LANES] = {0};
    int64_t i = 0;

    for (; i + LANES <= n; i += LANES)
#pragma omp simd
        for (int j = 0; j < LANES; j++)
            lane[j] += flat_square(a->scale, g[i + j]);
    for (int j = 0; i < n; i++, j++)
        lane[j] += flat_square(a->scale, g[i]);
    a->part[piece] =
        ((lane[0] + lane[1]) + (lane[2] + lane[3])) + ((lane[4] + lane[5]) + (lane[6] + lane[7]));
}

static void max_piece(void *context, int64_t piece)
{
    const sum_args *a = context;
    const float *g = a->g + piece * PIECE;
    const int64_t left = a->n - piece * PIECE, n = left < PIECE ? left : PIECE;
    double most = 0;

    for (int64_t i = 0; i < n; i++)
        most = flat_larger(most, fabs(a->scale * (double)g[i]));
    a->part[piece] = most;
}

typedef const double *device_sums(const float *g, int64_t n, double scale);

/* A sum of every piece: by the device's function when the gradient lies there, else by `here`. */
static void sum_pieces(sum_args *a, void (*here)(void *, int64_t), bool largest)
{
    const int64_t pieces = piece_count(a->n);
    const float *there = flat_find(a->g);

    a->part = threads_scratch(0, (size_t)pieces * sizeof *a->part);
    if (!there) {
        threads_run(pieces, here, a);
        return;
    }
    device_sums *sums = largest ? flat_functions()->largest : flat_functions()->squares;
    device_functions(device_current())
        ->download(a->part, sums(there, a->n, a->scale), (size_t)pieces * sizeof *a->part);
}

double clip_norm2(const float *g, int64_t n, double scale)
{
    const int64_t pieces = piece_count(n);
    sum_args a = {.g = g, .n = n, .scale = scale};

    if (n == 0)
        return 0;
    sum_pieces(&a, square_piece, false);
    for (int64_t step = 1; step < pieces; step *= 2)
        for (int64_t i = 0; i + step < pieces; i += 2 * step)
            a.part[i] += a.part[i + step];
    return sqrt(a.part[0]);
}

double clip_norm_max(const float *g, int64_t n, double scale)
{
    const int64_t pieces = piece_count(n);
    sum_args a = {.g = g, .n = n, .scale = scale};
    double most = 0;

    sum_pieces(&a, max_piece, true);
    for (int64_t i = 0; i < pieces; i++)
        most = flat_larger(most, a.part[i]);
    return most;
}

double clip_factor(double norm, double limit)
{
    const double factor = limit / (norm + 1e-6);

    return limit == 0 || factor > 1 ? 1 : factor;
}

static void value_piece(void *context, int64_t piece)
{
    const sum_args *a = context;
    float *g = a->out + piece * PIECE;
    const int64_t left = a->n - piece * PIECE, n = left < PIECE ? left : PIECE;
    const float scale = (float)a->scale, limit = (float)a->limit;

#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        g[i] = flat_cut(scale * g[i], limit);
}

void clip_by_value(float *g, int64_t n, double scale, double limit)
{
    sum_args a = {.out = g, .n = n, .scale = scale, .limit = limit};
    float *there = flat_find(g);

    if (there)
        flat_functions()->cut(there, n, (float)scale, (float)limit);
    else
        threads_run(piece_count(n), value_piece, &a);
}

double clip_gradient(const clip_options *options, float *g, int64_t n, double scale, double *norm)
{
    const bool largest = options->clip_norm && strcmp(options->clip_norm, "inf") == 0;

    if (options->clip_value > 0) {
        clip_by_value(g, n, scale, options->clip_value);
        scale = 1;
    }
    *norm = largest ? clip_norm_max(g, n, scale) : clip_norm2(g, n, scale);
    return scale * clip_factor(*norm, options->clip);
}
