/* rotate: channels in blocks times small matrices: y[n, c(b,j)] = sum_k x[n, c(b,k)] r[b][k,j], r [B, h, h].
 *
 * c(b,j) is channel b h + j, or channels[b h + j]. Of r the matrices first .. first + blocks - 1 are used,
 * one a block; with blocks = 1 all blocks share it.
 *
 * dx[n, c(b,k)] += sum_j dy[n, c(b,j)] r[b][k,j], dr[b][k,j] += sum_n x[n, c(b,k)] dy[n, c(b,j)] */
#include "autograd/ops/linear.h"

status op_rotate_shape(const op_args *a, shape *out, int64_t *n_aux)
{
    const tensor *x = a->in[0], *r = a->in[1];
    const int64_t first = a->attr->rotate.first, blocks = a->attr->rotate.blocks;

    TRY(op_want_matrix("rotate", "x", x));
    if (r->type != REAL_TYPE || r->s.n != 3 || r->s.d[1] != r->s.d[2] || first < 0 || blocks < 1 ||
        first + blocks > r->s.d[0] || (blocks > 1 && blocks * r->s.d[1] != x->s.d[1]) ||
        x->s.d[1] % r->s.d[1])
        return fail(STATUS_SHAPE, "rotate: %lld channels are not turned by matrices %lld to %lld of %s",
                    (long long)x->s.d[1], (long long)first, (long long)(first + blocks - 1),
                    shape_text(r->s));
    if (a->in[2])
        TRY(op_want_ints("rotate", "channels", a->in[2], shape_1(x->s.d[1])));
    *out = x->s;
    *n_aux = 0;
    return STATUS_OK;
}

/* What a piece of the work needs. */
typedef struct turning {
    int64_t N, C, h, blocks, step; /* blocks of channels; step: from the matrix of one to that of the next */
    int64_t first;
} turning;

static turning turning_of(const op_args *a, const tensor *x)
{
    const int64_t h = a->in[1]->s.d[1], C = x->s.d[1];

    return (turning){.N = rows_in_use(x), .C = C, .h = h, .blocks = C / h,
                     .step = a->attr->rotate.blocks == 1 ? 0 : h * h, .first = a->attr->rotate.first * h * h};
}

/* Rows of x in the blocks' order, or as they are. */
static const real *gathered(const op_args *a, const turning *t, const real *x, real *room)
{
    const int32_t *c = a->in[2] ? a->in[2]->v : NULL;

    for (int64_t n = 0; c && n < t->N; n++)
        for (int64_t i = 0; i < t->C; i++)
            room[n * t->C + i] = x[n * t->C + c[i]];
    return c ? room : x;
}

/* y = x r, or x r^T, block by block */
static void turn_all(const op_args *a, const turning *t, const real *x, bool back, real *y)
{
    for (int64_t b = 0; b < (t->step ? t->blocks : 1); b++) {
        matmul p = product(x + b * t->h, (const real *)a->in[1]->v + t->first + b * t->step, REAL_TYPE,
                           t->step ? t->N : t->N * t->blocks, t->h, t->h);
        p.lda = p.ldc = t->step ? t->C : t->h;
        p.b_turned = back;
        p.c = y + b * t->h;
        op_matmul(&p);
    }
}

void op_rotate_fwd_cpu(const op_args *a)
{
    const turning  t = turning_of(a, a->in[0]);
    const int32_t *c = a->in[2] ? a->in[2]->v : NULL;
    real          *room = threads_scratch(SLOT_SHARED, (size_t)(2 * a->in[0]->s.d[0] * t.C) * sizeof *room);
    real          *y = a->out[0]->v, *turned = c ? room + t.N * t.C : y;

    turn_all(a, &t, gathered(a, &t, a->in[0]->v, room), false, turned);
    for (int64_t n = 0; c && n < t.N; n++)
        for (int64_t i = 0; i < t.C; i++)
            y[n * t.C + c[i]] = turned[n * t.C + i];
}

static void backward_r(const op_args *a, const turning *t, const real *x, const real *dy)
{
    for (int64_t b = 0; b < (t->step ? t->blocks : 1); b++) {
        matmul p = product(x + b * t->h, dy + b * t->h, REAL_TYPE, t->h, t->h,
                           t->step ? t->N : t->N * t->blocks);
        p.a_turned = true;
        p.b_turned = false;
        p.lda = p.ldb = t->step ? t->C : t->h;
        p.ldc = t->h;
        p.c = (real *)a->gin[1]->v + t->first + b * t->step;
        p.accumulate = true;
        op_matmul(&p);
    }
}

void op_rotate_bwd_cpu(const op_args *a)
{
    const turning  t = turning_of(a, a->gout[0]);
    const int64_t  size = a->gout[0]->s.d[0] * t.C;
    const int32_t *c = a->in[2] ? a->in[2]->v : NULL;
    real          *room = threads_scratch(SLOT_SHARED, (size_t)(3 * size) * sizeof *room);
    const real    *dy = gathered(a, &t, a->gout[0]->v, room);
    real          *dx = op_value(a->gin[0]), *turned = room + size;

    if (a->gin[1])
        backward_r(a, &t, gathered(a, &t, a->in[0]->v, room + 2 * size), dy);
    if (!dx)
        return;
    turn_all(a, &t, dy, true, turned);
    for (int64_t n = 0; n < t.N; n++)
        for (int64_t i = 0; i < t.C; i++)
            dx[n * t.C + (c ? c[i] : i)] += turned[n * t.C + i];
}
