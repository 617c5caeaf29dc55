/* householder: a chain of reflections as one low-rank change. u [C, R], v_i = u_i / |u_i|,
 *
 *     H_1 H_2 ... H_R = I - V T V^T,  H_i = I - 2 v_i v_i^T,  T^-1 = I / 2 + strict upper triangle of V^T V;
 *
 * the outputs are a = V^T [R, C] and b = -V T [C, R]: x -> x + (x a^T) b^T multiplies x by H_R ... H_1
 * (Joffrain et al. 2006). With `orthogonal` v are the Gram-Schmidt vectors of u instead, and T = 2 I.
 *
 * aux: lengths [R], then T [R, R], or with `orthogonal` r_ij = v_i u_j above the diagonal */
#include "autograd/ops/linear.h"

#include <math.h>

status op_householder_shape(const op_args *a, shape *out, int64_t *n_aux)
{
    TRY(op_want_matrix("householder", "u", a->in[0]));
    const int64_t C = a->in[0]->s.d[0], R = a->in[0]->s.d[1];
    if (a->attr->householder.orthogonal && R > C)
        return fail(STATUS_SHAPE, "householder: %lld vectors of %lld values cannot be made orthogonal",
                    (long long)R, (long long)C);
    out[0] = shape_2(R, C);
    out[1] = shape_2(C, R);
    *n_aux = R + R * R;
    return STATUS_OK;
}

static void add_scaled(real *y, real k, const real *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] += k * x[i];
}

/* v_i, from u with the parts along earlier ones taken out in their order if they are to be orthogonal */
static void make_vectors(const op_args *a, int64_t C, int64_t R, real *v)
{
    const real *u = a->in[0]->v;
    real       *length = a->aux, *r = a->aux + R;

    for (int64_t i = 0; i < R; i++) {
        for (int64_t c = 0; c < C; c++)
            v[i * C + c] = u[c * R + i];
        for (int64_t j = 0; a->attr->householder.orthogonal && j < i; j++) {
            r[j * R + i] = op_dot(v + j * C, v + i * C, C);
            add_scaled(v + i * C, -r[j * R + i], v + j * C, C);
        }
        length[i] = (real)sqrt((double)op_dot(v + i * C, v + i * C, C));
        for (int64_t c = 0; c < C; c++)
            v[i * C + c] /= length[i];
    }
}

/* T, column by column: T[:, j] = -2 T V^T v_j above the diagonal, 2 on it */
static void make_triangle(int64_t C, int64_t R, const real *v, real *T)
{
    memset(T, 0, (size_t)(R * R) * sizeof *T);
    for (int64_t j = 0; j < R; j++) {
        T[j * R + j] = 2;
        for (int64_t k = 0; k < j; k++) {
            const real dot = -2 * op_dot(v + k * C, v + j * C, C);
            for (int64_t i = 0; i <= k; i++)
                T[i * R + j] += T[i * R + k] * dot;
        }
    }
}

void op_householder_fwd_cpu(const op_args *a)
{
    const int64_t C = a->in[0]->s.d[0], R = a->in[0]->s.d[1];
    real         *v = a->out[0]->v, *b = a->out[1]->v, *T = a->aux + R;

    make_vectors(a, C, R, v);
    if (a->attr->householder.orthogonal) {
        for (int64_t i = 0; i < R * C; i++)
            b[i] = -2 * v[i % R * C + i / R];
        return;
    }
    make_triangle(C, R, v, T);
    matmul p = product(v, T, REAL_TYPE, C, R, R);
    p.a_turned = true;
    p.b_turned = false;
    p.lda = C;
    p.c = b;
    p.alpha = -1;
    op_matmul(&p);
}

/* dv += what comes through b = -V T: dT = -V^T db, dS = -T^T dT T^T of S = T^-1, whose triangle is v_i v_j */
static void chain_backward(const op_args *a, int64_t C, int64_t R, const real *db, real *dv, real *dT,
                           real *dS)
{
    const real *v = a->out[0]->v, *T = a->aux + R;

    for (int64_t i = 0; i < R; i++)
        for (int64_t r = 0; r < R; r++) {
            double sum = 0;
            for (int64_t c = 0; c < C; c++) {
                sum += (double)v[i * C + c] * (double)db[c * R + r];
                dv[i * C + c] -= T[i * R + r] * db[c * R + r];
            }
            dT[i * R + r] = (real)-sum;
        }
    for (int64_t i = 0; i < R; i++)
        for (int64_t j = 0; j < R; j++) {
            double sum = 0;
            for (int64_t k = 0; k < R; k++)
                for (int64_t l = 0; l < R; l++)
                    sum -= (double)T[k * R + i] * (double)dT[k * R + l] * (double)T[j * R + l];
            dS[i * R + j] = (real)sum;
        }
    for (int64_t i = 0; i < R; i++)
        for (int64_t j = i + 1; j < R; j++) {
            add_scaled(dv + i * C, dS[i * R + j], v + j * C, C);
            add_scaled(dv + j * C, dS[i * R + j], v + i * C, C);
        }
}

/* dv through the taking out of earlier vectors, the last first; w: what was left of a vector before a step */
static void take_out_backward(const op_args *a, int64_t C, int64_t R, int64_t i, real *dv, real *w)
{
    const real *v = a->out[0]->v, *length = a->aux, *r = a->aux + R;

    for (int64_t c = 0; c < C; c++)
        w[c] = length[i] * v[i * C + c];
    for (int64_t j = i - 1; j >= 0; j--) {
        const real d = -op_dot(dv + i * C, v + j * C, C);
        add_scaled(w, r[j * R + i], v + j * C, C);
        add_scaled(dv + j * C, -r[j * R + i], dv + i * C, C);
        add_scaled(dv + j * C, d, w, C);
        add_scaled(dv + i * C, d, v + j * C, C);
    }
}

void op_householder_bwd_cpu(const op_args *a)
{
    const bool    orthogonal = a->attr->householder.orthogonal;
    const int64_t C = a->in[0]->s.d[0], R = a->in[0]->s.d[1];
    const real   *v = a->out[0]->v, *length = a->aux, *da = op_value(a->gout[0]), *db = op_value(a->gout[1]);
    real         *du = op_value(a->gin[0]);
    real         *dv = threads_scratch(SLOT_WEIGHT, (size_t)(R * C + C + 2 * R * R) * sizeof *dv);
    real         *w = dv + R * C, *T = w + C;

    if (!du)
        return;
    for (int64_t i = 0; i < R * C; i++)
        dv[i] = (da ? da[i] : 0) - (orthogonal && db ? 2 * db[i % C * R + i / C] : 0);
    if (!orthogonal && db)
        chain_backward(a, C, R, db, dv, T, T + R * R);
    for (int64_t i = R - 1; i >= 0; i--) {
        const real along = op_dot(dv + i * C, v + i * C, C);
        for (int64_t c = 0; c < C; c++)
            dv[i * C + c] = (dv[i * C + c] - along * v[i * C + c]) / length[i];
        if (orthogonal)
            take_out_backward(a, C, R, i, dv, w);
        for (int64_t c = 0; c < C; c++)
            du[c * R + i] += dv[i * C + c];
    }
}
