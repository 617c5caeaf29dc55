/* skill_weights: how much of each skill a sequence takes, by its task: w[s, h K + k] = p_k / (sum_j p_j + 1e-12),
 * p = sigmoid(logits[tasks[s], h K + k]), of each head h by itself   (aux: p)
 *
 * While training, and with samples and offsets, p is a relaxed Bernoulli sample at temperature 1 (Maddison et al.
 * 2017): sigmoid(logit + ln u - ln(1 - u)). u is a function of seed, step, site, the number of the sequence's sample,
 * head and skill. Four of them share one Philox block.
 *
 * dp = (dw - sum_j dw_j w_j) / (sum_j p_j + 1e-12), dlogits[tasks[s]] += dp p (1 - p) */
#include "autograd/ops/kernel.h"

#include <math.h>

static const double eps = 1e-12;

status op_skill_weights_shape(const op_args *a, shape *out, int64_t *n_aux)
{
    const tensor *logits = a->in[0], *tasks = a->in[1], *samples = a->in[2], *offsets = a->in[3];
    const int64_t skills = a->attr->skill_weights.skills, seqs = tasks->s.n ? tasks->s.d[0] : 1;

    TRY(op_want_matrix("skill_weights", "logits", logits));
    TRY(op_want_ints("skill_weights", "tasks", tasks, shape_1(seqs)));
    if (skills < 1 || logits->s.d[1] % skills != 0)
        return fail(STATUS_SHAPE, "skill_weights: a task has %lld logits, must be a multiple of its %lld skills",
                    (long long)logits->s.d[1], (long long)skills);
    if ((samples == NULL) != (offsets == NULL))
        return fail(STATUS_SHAPE, "skill_weights: samples go with offsets");
    if (samples) {
        TRY(op_want_ints("skill_weights", "samples", samples, shape_1(samples->s.n ? samples->s.d[0] : 1)));
        TRY(op_want_ints("skill_weights", "offsets", offsets, shape_1(seqs + 1)));
    }
    *out = shape_2(seqs, logits->s.d[1]);
    *n_aux = shape_count(*out);
    return STATUS_OK;
}

/* ln u - ln(1 - u) of value i of sequence s; u keeps off 0 and 1 as torch's does */
static double noise(const op_args *a, rng_key key, int64_t s, int64_t i)
{
    const int32_t  first = ((const int32_t *)a->in[3]->v)[s];
    const uint32_t sample = ((const uint32_t *)a->in[2]->v)[first];
    const rng_block r = rng_philox(key, (uint32_t)(i / 4), sample, a->attr->skill_weights.site, a->run->step);
    const double    u = rng_inside(r.r[i % 4]);

    return log(u) - log(1 - u);
}

static void forward(const op_args *a, int64_t from, int64_t to)
{
    const int64_t  C = a->in[0]->s.d[1], K = a->attr->skill_weights.skills;
    const int32_t *tasks = a->in[1]->v;
    const bool     noisy = a->in[2] && a->run->training;
    const rng_key  key = rng_key_for(a->run->seed, "skills");

    for (int64_t s = from; s < to; s++) {
        CHECK(tasks[s] >= 0 && tasks[s] < a->in[0]->s.d[0]);
        const real *z = (const real *)a->in[0]->v + tasks[s] * C;
        real       *w = (real *)a->out[0]->v + s * C, *p = a->aux + s * C;
        for (int64_t i = 0; i < C; i++)
            p[i] = (real)(1 / (1 + exp(-((double)z[i] + (noisy ? noise(a, key, s, i) : 0)))));
        for (int64_t h = 0; h < C; h += K) {
            const real sum = op_total(p + h, K) + (real)eps;
            for (int64_t k = 0; k < K; k++)
                w[h + k] = p[h + k] / sum;
        }
    }
}

void op_skill_weights_fwd_cpu(const op_args *a)
{
    op_over(a, rows_in_use(a->in[1]), op_piece_rows(a->in[0]->s.d[1]), forward);
}

/* Heads from .. to-1, the sequences in their order. */
static void backward(const op_args *a, int64_t from, int64_t to)
{
    const int64_t  C = a->gout[0]->s.d[1], K = a->attr->skill_weights.skills, S = rows_in_use(a->gout[0]);
    const int32_t *tasks = a->in[1]->v;

    for (int64_t s = 0; s < S; s++)
        for (int64_t h = from; h < to; h++) {
            const real *p = a->aux + s * C + h * K, *dw = (const real *)a->gout[0]->v + s * C + h * K;
            real       *dz = (real *)a->gin[0]->v + tasks[s] * C + h * K;
            const real  sum = op_total(p, K) + (real)eps, along = op_dot(dw, p, K) / sum;
            for (int64_t k = 0; k < K; k++)
                dz[k] += (dw[k] - along) / sum * p[k] * (1 - p[k]);
        }
}

void op_skill_weights_bwd_cpu(const op_args *a)
{
    if (a->gin[0])
        op_over(a, a->gout[0]->s.d[1] / a->attr->skill_weights.skills, 1, backward);
}
