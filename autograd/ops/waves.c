/* waves: y[m,c] = cos(2 pi m p[c] / M), or the sine, for m < M: columns of a Fourier matrix; no gradient */
#include "autograd/ops/kernel.h"

#include <math.h>

status op_waves_shape(const op_args *a, shape *out, int64_t *n_aux)
{
    const int64_t M = a->attr->waves.size;

    if (M < 1 || a->in[0]->s.n != 1)
        return fail(STATUS_SHAPE, "waves: %lld values at frequencies %s, must be 1 or more at a list of them",
                    (long long)M, shape_text(a->in[0]->s));
    TRY(op_want_ints("waves", "p", a->in[0], a->in[0]->s));
    *out = shape_2(M, a->in[0]->s.d[0]);
    *n_aux = 0;
    return STATUS_OK;
}

enum { PIECE_ROWS = 64 };

typedef struct waves {
    const op_args *a;
    const real    *turn; /* the wave of frequency 1 */
} waves;

/* Row by row each column goes on by its frequency. */
static void rows(void *context, int64_t piece)
{
    const waves   *w = context;
    const int64_t  M = w->a->out[0]->s.d[0], C = w->a->out[0]->s.d[1], from = piece * PIECE_ROWS;
    const int32_t *p = w->a->in[0]->v;
    real          *y = w->a->out[0]->v;
    int64_t       *at = threads_scratch(SLOT_WEIGHT, (size_t)C * sizeof *at);

    for (int64_t c = 0; c < C; c++)
        at[c] = from * p[c] % M;
    for (int64_t m = from; m < M && m < from + PIECE_ROWS; m++)
        for (int64_t c = 0; c < C; c++) {
            y[m * C + c] = w->turn[at[c]];
            at[c] += p[c];
            if (at[c] >= M)
                at[c] -= M;
        }
}

void op_waves_fwd_cpu(const op_args *a)
{
    const int64_t M = a->out[0]->s.d[0];
    real         *turn = threads_scratch(SLOT_SHARED, (size_t)M * sizeof *turn);
    waves         w = {a, turn};

    for (int64_t m = 0; m < M; m++) {
        const double angle = 6.283185307179586 * (double)m / (double)M;
        turn[m] = (real)(a->attr->waves.sine ? sin(angle) : cos(angle));
    }
    threads_run((M + PIECE_ROWS - 1) / PIECE_ROWS, rows, &w);
}

void op_waves_bwd_cpu(const op_args *a)
{
    (void)a;
}
