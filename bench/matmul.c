/* matmul: products of the shapes that training has
 *
 * forward: y = x W^T; gradient of x: dx = dy W; gradient of W: dW = dy^T x; and the thin ones of
 * lora. */
#include "bench/bench.h"

#include "core/cpu/matmul.h"
#include "core/quant.h"
#include "core/rng.h"

#include <string.h>

typedef struct layer {
    const char *name;
    int64_t     in, out;
} layer;

static const layer layers[] = {
    {"135M hidden-hidden", 576, 576},  {"135M hidden-kv", 576, 192},
    {"135M hidden-ffn", 576, 1536},    {"135M ffn-hidden", 1536, 576},
    {"135M hidden-words", 576, 49152}, {"1B hidden-hidden", 2048, 2048},
    {"1B hidden-kv", 2048, 512},       {"1B hidden-ffn", 2048, 8192},
    {"1B ffn-hidden", 8192, 2048},
};
static const layer tiny[] = {{"tiny", 64, 96}};
enum { WORDS_MANY = 40000 }; /* more outputs: the vocabulary, of which training computes pieces */

typedef enum direction { FORWARD, TO_X, TO_W, DIRECTIONS } direction;
static const char *const directions[] = {"forward", "to x", "to W"};

/* Values that are neither zero nor special; of blocks, bytes that make small scales. */
static status fill(arena *a, dtype type, int64_t rows, int64_t columns, void **out)
{
    const int64_t n = rows * columns;
    const size_t  bytes = (size_t)(dtype_row_bytes(type, columns) * rows);
    float        *v;

    if (!(*out = arena_take(a, bytes, 1)))
        return STATUS_MEMORY;
    if (type == TYPE_F32) {
        rng_fill_normal(rng_key_for(1, "bench"), 0, 1, *out, n);
        return STATUS_OK;
    }
    memset(*out, 0x2c, bytes);
    if (type != TYPE_BF16)
        return STATUS_OK;
    TRY_TAKE(v, a, columns);
    rng_fill_normal(rng_key_for(1, "bench"), 0, 1, v, columns);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < columns; c++)
            ((uint16_t *)*out)[r * columns + c] = f32_to_bf16(v[c]);
    return STATUS_OK;
}

static status run(void *context, reading *r)
{
    const matmul *p = context;
    const double  from = bench_now();

    matmul_run(p);
    *r = (reading){.seconds = bench_now() - from,
                   .amount = 2e-9 * (double)p->m * (double)p->n * (double)p->k};
    return STATUS_OK;
}

/* w has the type; x and dy are f32, but for `both`, where they are bf16 too. */
static status make(arena *a, direction d, const layer *l, int64_t N, dtype type, bool both,
                   matmul *p)
{
    const dtype other = both ? TYPE_BF16 : TYPE_F32;
    void       *x, *w;
    float      *y;

    TRY(fill(a, other, N, d == FORWARD ? l->in : l->out, &x));
    TRY(fill(a, d == TO_W ? other : type, d == TO_W ? N : l->out, l->in, &w));
    *p = (matmul){.a = x,
                  .type_a = other,
                  .b = w,
                  .type_b = d == TO_W ? other : type,
                  .type_c = TYPE_F32,
                  .alpha = 1};
    if (d == FORWARD)
        p->m = N, p->n = l->out, p->k = l->in, p->lda = l->in, p->ldb = l->in, p->b_turned = true;
    else if (d == TO_X)
        p->m = N, p->n = l->in, p->k = l->out, p->lda = l->out, p->ldb = l->in;
    else
        p->m = l->out, p->n = l->in, p->k = N, p->lda = l->out, p->a_turned = true, p->ldb = l->in;
    p->ldc = p->n;
    TRY_TAKE(y, a, p->m * p->n);
    p->c = y;
    return STATUS_OK;
}

static status measure(bench *b, const char *kind, direction d, const layer *l, int64_t N,
                      dtype type, bool both)
{
    char   what[96];
    matmul p;

    snprintf(what, sizeof what, "%s %s %s %lld", l->name, kind, directions[d], (long long)N);
    if (!bench_wants(b, what))
        return STATUS_OK;
    const size_t mark = arena_mark(&b->work);
    TRY(make(&b->work, d, l, N, type, both, &p));
    TRY(bench_time_threads(b, (timed){.what = what, .unit = "GFLOP/s", .run = run, .context = &p,
                                      .ceiling = both ? CEILING_PAIRS : CEILING_FMA}));
    arena_rewind(&b->work, mark);
    return STATUS_OK;
}

static status measure_layer(bench *b, const layer *l, int64_t N)
{
    for (int d = 0; d < DIRECTIONS; d++) {
        TRY(measure(b, "f32", (direction)d, l, N, TYPE_F32, false));
        if (d != TO_W)
            TRY(measure(b, "q4_1 weight", (direction)d, l, N, TYPE_Q4_1, false));
        if (d != TO_W)
            TRY(measure(b, "bf16 weight", (direction)d, l, N, TYPE_BF16, false));
        TRY(measure(b, "bf16 both", (direction)d, l, N, TYPE_BF16, true));
    }
    return STATUS_OK;
}

/* y += (x A^T) B^T with A [R, in], B [out, R]: each factor as a layer of its own. */
static status measure_thin(bench *b, const layer *l, int64_t N, int64_t R)
{
    char        names[2][64];
    const layer factors[] = {{names[0], l->in, R}, {names[1], R, l->out}};

    snprintf(names[0], sizeof names[0], "%s A rank %lld", l->name, (long long)R);
    snprintf(names[1], sizeof names[1], "%s B rank %lld", l->name, (long long)R);
    for (int i = 0; i < 2; i++)
        for (int d = 0; d < DIRECTIONS; d++)
            TRY(measure(b, "f32", (direction)d, &factors[i], N, TYPE_F32, false));
    return STATUS_OK;
}

status bench_matmul(bench *b)
{
    static const int64_t tokens[] = {512, 2048}, few[] = {32}, ranks[] = {8, 16};
    const layer   *l = b->o.quick ? tiny : layers;
    const int64_t *N = b->o.quick ? few : tokens;
    const size_t n_layers = b->o.quick ? 1 : COUNT_OF(layers),
                 n_tokens = b->o.quick ? 1 : COUNT_OF(tokens);

    for (size_t i = 0; i < n_layers; i++)
        for (size_t k = 0; k < n_tokens; k++) {
            if (l[i].out > WORDS_MANY && k > 0)
                continue;
            TRY(measure_layer(b, &l[i], N[k]));
            for (size_t r = 0; r < COUNT_OF(ranks) && l[i].out <= WORDS_MANY; r++)
                TRY(measure_thin(b, &l[i], N[k], ranks[r]));
        }
    return STATUS_OK;
}
