/* ops: the operations as functions on a tape. N tokens, C channels, V words, T targets, S sequences,
 * H heads of D channels, R rank. Activations are [N, C], weights [out, in]. `i32` inputs have no
 * gradient. Each returns its (first) output and never NULL: after a failure, a placeholder. */
#ifndef AUTOGRAD_OPS_H
#define AUTOGRAD_OPS_H

#include "autograd/tape.h"

/* table [V, C] of any stored type, ids i32 [N] -> [N, C] */
var *ag_embed(tape *t, var *table, var *ids);
/* x [N, C], rows i32 [T] -> [T, C]: y[i] = x[rows[i]] */
var *ag_gather_rows(tape *t, var *x, var *rows);
/* a [M, C], b [N, C], rows i32 [T] -> [T, C]: y[i] = a[rows[i]] where rows[i] >= 0, else b[-1 - rows[i]] */
var *ag_pick_rows(tape *t, var *a, var *b, var *rows);
/* x [N, C], from, to i32 [S] -> [S, C]: the mean of the rows from[s] .. to[s], both included; no row is in two */
var *ag_mean_rows(tape *t, var *x, var *from, var *to);
/* x [N, C] -> [N, width]: columns from .. from + width - 1 */
var *ag_columns(tape *t, var *x, int64_t from, int64_t width);
/* cache [P, C], x [N, C], slots i32 [N]: cache[slots[i]] = x[i]; the result is the cache itself */
var *ag_scatter_rows(tape *t, var *cache, var *x, var *slots);
/* w of any shape, frozen, v [E], places i32 [E] -> w with w[places[e]] = v[e], counted over all its values; places in
 * rising order, none twice. The result is w's memory, changed in place; what flows back to it is only gathered at the
 * places */
var *ag_put_values(tape *t, var *w, var *v, var *places);
/* x [N, C], table [R, C], keys i32 [N], map i32 [K] or NULL -> x with table[r] in the rows n that have a place r =
 * map[keys[n]] in 0 .. R-1; without a map r = keys[n] - first. keys NULL: row n has the key n. */
var *ag_replace_rows(tape *t, var *x, var *table, var *keys, var *map, int32_t first);

/* x [N, K], w [M, K] of any stored type, b [M] or NULL -> [N, M]: x w^T + b */
var *ag_linear(tape *t, var *x, var *w, var *b);
/* y [N, M], x [N, K], a [R, K], b [M, R] -> y + factor (x a^T) b^T   (Hu et al. 2021, eq. 3) */
var *ag_lora(tape *t, var *y, var *x, var *a, var *b, double factor);
/* the same as ag_lora(ag_linear(x, w, bias), x, a, b) in one product */
var *ag_linear_lora(tape *t, var *x, var *w, var *bias, var *a, var *b, double factor);
/* y [N, M], x [N, K], a [S, K, R], b [S, R, M], offsets i32 [S + 1] of the sequences -> y + factor (x a[s]) b[s] in
 * the rows of sequence s */
var *ag_lora_each(tape *t, var *y, var *x, var *a, var *b, var *offsets, double factor);
/* y [N, M], x [N, K], a [R, K], b [M, R], gates and chosen [N, k] as ag_route has them -> y + factor (g * (x a^T))
 * b^T, g with the gates of row n at its chosen ranks and zero elsewhere; form: how it is computed */
var *ag_lora_routed(tape *t, var *y, var *x, var *a, var *b, var *gates, var *chosen, double factor,
                    routed_form form);
/* y [N, M], x [N, K], v [E], places i32 [2, E] -> y + x S^T, S [M, K] with v[e] at row places[0,e] and column
 * places[1,e], the rest zero; places in the order of rows and then columns, none twice */
var *ag_sparse(tape *t, var *y, var *x, var *v, var *places);
/* x [N, C], r [B, h, h], channels i32 [C] or NULL -> [N, C]: blocks of h channels, in their order or that of
 * `channels`, times the matrices first .. first + blocks - 1, one a block; blocks = 1: all the same   (Qiu et
 * al. 2023, OFT) */
var *ag_rotate(tape *t, var *x, var *r, var *channels, int64_t first, int64_t blocks);

/* w [M, K] of any stored type, or a real [M] -> the same as values, for what follows in tape_weight_begin */
var *ag_expand(tape *t, var *w);
var *ag_transpose(tape *t, var *x); /* [M, N] -> [N, M] */
/* g [M], w [M, K] of any stored type, a [R, K], b [M, R] -> g / norms of the rows of w + factor b a, [M]; only g
 * has a gradient   (Liu et al. 2024, DoRA, eq. 11) */
var *ag_dora_gain(tape *t, var *g, var *w, var *a, var *b, double factor);
/* x [M', N'] -> its first rows and columns, [M, N]; row m times k[m], k of M values in any shape or NULL */
var *ag_cut(tape *t, var *x, var *k, int64_t rows, int64_t columns);
/* a [A, B], b [C, D] -> [A C, B D]: every value of a times b */
var *ag_kron(tape *t, var *a, var *b);
/* a [R, J], g [B, J] -> [J, R B]: y[j, k B + b] = a[k,j] g[b,j] */
var *ag_khatri_rao(tape *t, var *a, var *g);
/* places i32 [C] -> [size, C]: cos, or sin, of 2 pi m places[c] / size; places are in 0 .. size - 1 */
var *ag_waves(tape *t, var *places, int64_t size, bool sine);
/* q [B, h (h - 1) / 2], strict upper triangles of skew matrices Q, or [..., h, h] with Q = (X - X^T) / 2 ->
 * [B, h, h]: (I - Q)(I + Q)^-1, or with terms > 0 the first of the series of the opposite rotation; limit >
 * 0: Q is shortened to that Frobenius norm before, as if it had been so   (autograd/ops/cayley.c) */
var *ag_cayley(tape *t, var *q, int terms, double limit);
/* u [C, R] -> a [R, C], *b [C, R]: x + (x a^T) b^T is x times H_R ... H_1, H_i the reflection at column i of
 * u; with orthogonal at those columns made orthonormal first   (Yuan et al. 2024, HRA) */
var *ag_householder(tape *t, var *u, bool orthogonal, var **b);

/* logits [T, H K], tasks i32 [S] in 0 .. T-1 -> w [S, H K]: sigmoid(logits[tasks[s]]), divided by its sum over the K
 * skills of a head. With samples i32 [N] and offsets i32 [S + 1], else NULL, a relaxed Bernoulli sample of it while
 * training: a function of seed, step, site, the number of a sequence's sample, head and skill   (Ponti et al. 2022,
 * Polytropon) */
var *ag_skill_weights(tape *t, var *logits, var *tasks, var *samples, var *offsets, int64_t skills, uint32_t site);
/* m [H, K, P, Q], or [K, P, Q] for H = 1, w [S, H K] -> for each sequence the weighted sums of a head's skills, one
 * below another, [S, H P, Q], or beside another, [S, P, H Q]   (Page-Caccia et al. 2023, MHR) */
var *ag_mix_skills(tape *t, var *m, var *w, bool beside);

/* x [N, K], w [M, K] -> [N, M]: x w^T, in f32 also where activations are bf16 */
var *ag_scores(tape *t, var *x, var *w);
/* z [N, r / p], b [r], which has no gradient -> for each row the `active` experts with the largest sigmoid(z) + b, an
 * entry of z for p experts that follow one another: their gates [N, active], which sum to `active`, and *chosen,
 * their numbers, as reals [N, active]; in_weight: gates are in proportion to sigmoid(z) + b, else to sigmoid(z)
 * (Zhao et al. 2026, SMoRA) */
var *ag_route(tape *t, var *z, var *b, int64_t active, bool in_weight, var **chosen);
/* counts [r], chosen [N, k]: while training counts[e] += how often e is chosen in all rows; anew: from zero. The
 * result is counts itself; nothing needs to read it. */
var *ag_tally(tape *t, var *counts, var *chosen, bool anew);
/* b, counts [r]: while training b += rate sign(mean(counts) - counts); the result is b itself, likewise */
var *ag_balance(tape *t, var *b, var *counts, double rate);

/* x [N, C], g [E, C] -> gains w [N, E]: the softmax over the k largest of z = x g^T, 0 elsewhere, of equal ones the
 * first; z is divided by the temperature, unless training; *z [N, E]   (Xu et al. 2025, MeteoRA) */
var *ag_top_gate(tape *t, var *x, var *g, int64_t k, double temperature, var **z);
/* z [N, E], tasks i32 [S] in 0 .. E-1, offsets i32 [S + 1] -> [1]: the sum over all rows of a sequence but its last of
 * the cross-entropy of its task */
var *ag_gate_loss(tape *t, var *z, var *tasks, var *offsets);
/* x [N, C], tasks i32 [S] in 0 .. E-1, offsets i32 [S + 1] -> gains w [N, E]: 1 for the task of a row's sequence, else
 * 0 */
var *ag_task_gates(tape *t, var *x, var *tasks, var *offsets, int64_t E);

/* Low-rank experts that lie in one flat buffer `values` [..]: row e of the table i32 [E, 3] says the rank of expert e
 * (0: it is not here) and the places of A [rank, K] and B [M, rank] there, in steps of so many values; scales [E]. */
enum { EXPERT_STEP = 16 };

/* y [N, M], x [N, K], w [N, E] -> y + the sum over the experts of w[n,e] scales[e] (x A^T) B^T. Only those whose
 * weight is not 0 are computed, at most `most` in a row; rank: the largest. */
var *ag_lora_gated(tape *t, var *y, var *x, var *values, var *w, var *table, var *scales, int64_t rank, int64_t most);
/* -> all A one below another [R, in], and *b all B one beside another [out, R], R the sum of the ranks */
var *ag_stack_factors(tape *t, var *values, var *table, int64_t R, int64_t in, int64_t out, var **b);
/* u [N, R], w [N, E], owner i32 [R], scales [E] -> u[n,r] w[n,e] scales[e], e = owner[r] */
var *ag_gain_columns(tape *t, var *u, var *w, var *owner, var *scales);

var *ag_add(tape *t, var *a, var *b); /* equal shapes */
var *ag_mul(tape *t, var *a, var *b); /* equal shapes */
/* x [N, C]; k and b of C values in any shape, or NULL -> x * k + b in every row */
var *ag_affine(tape *t, var *x, var *k, var *b);
/* x + factor * b in every row */
var *ag_shift(tape *t, var *x, var *b, double factor);
var *ag_scale(tape *t, var *x, double factor);
var *ag_scale_by(tape *t, var *x, var *s); /* s [1] -> s * x */
var *ag_silu(tape *t, var *x);
/* x Phi(x), and its two stand-ins (Hendrycks and Gimpel 2016): finite for finite x */
var *ag_gelu(tape *t, var *x, gelu_kind kind);
var *ag_relu(tape *t, var *x);
var *ag_softplus(tape *t, var *x); /* log(1 + exp(x)), also the negative log of sigmoid(-x) */
var *ag_tanh(tape *t, var *x);
var *ag_swiglu(tape *t, var *gate, var *up); /* silu(gate) * up   (Shazeer 2020) */
/* x [N, C]; samples, positions i32 [N] name the rows: the mask is a function of seed, step, site,
 * sample, position and channel only. Off unless training. */
var *ag_dropout(tape *t, var *x, var *samples, var *positions, double p, uint32_t site);

/* x [N, C], w [C]: x / sqrt(mean(x^2) + eps) * w   (Zhang and Sennrich 2019). A w of D values, D dividing C, norms
 * every stretch of D values by itself. _plus: the weight is 1 + w. */
var *ag_rmsnorm(tape *t, var *x, var *w, double eps);
var *ag_rmsnorm_plus(tape *t, var *x, var *w, double eps);
/* *sum = x + r, result rmsnorm(*sum) */
var *ag_rmsnorm_add(tape *t, var *x, var *r, var *w, double eps, var **sum);
/* x [N, C], w [C], b [C]: (x - mean) / sqrt(variance + eps) * w + b, the variance over C   (Ba et al. 2016) */
var *ag_layernorm(tape *t, var *x, var *w, var *b, double eps);

/* scale: of cos and sin; factor above 0: dynamic NTK, beyond `length` positions (bloc97 2023) */
typedef struct rope_options {
    double scale, theta, factor, length;
} rope_options;

/* positions i32 [N], frequencies [D/2] (f32 or f64, radians a position), offsets i32 [S+1] of the sequences (NULL
 * unless dynamic) -> [N, D]: cos | sin */
var *ag_rope_table(tape *t, var *positions, var *frequencies, var *offsets, const rope_options *o);
/* x [N, H*D], table [N, D]: channel i of a head turns with channel i + D/2   (Su et al. 2021) */
var *ag_rope(tape *t, var *x, var *table);

typedef struct attention_options {
    int32_t heads, kv_heads;
    bool    causal;
    int32_t window;
    double  scale, softcap;
    var    *bias;  /* real [buckets, H] or NULL: bias[bucket(d)][h] is added to the scores of head h, d = key - query
                      position (Raffel et al. 2020, relative position buckets); not with softcap */
    int32_t reach; /* distances from here on share the last bucket */
    bool    both;  /* keys behind a query have half of the buckets; else those count as distance 0 */
} attention_options;

/* Softmax attention over sequences that lie one after another.
 *
 * q [N, H*D], k and v [Nk, Hk*D]; q_offsets, k_offsets i32 [S+1] (rows in use: sequences + 1):
 * sequence s has queries q_offsets[s] .. q_offsets[s+1]-1 and keys k_offsets[s] .. ; q_start i32 [S]
 * is the position of its first query among its keys, or NULL for 0 (self-attention). blocks i32
 * [S, n] or NULL: with it keys lie in pages of 32 rows: key j of sequence s is row
 * blocks[s][j / 32] * 32 + j % 32, and its number of keys is k_offsets[s+1] - k_offsets[s].
 * Result y [N, H*D]; *lse (may be NULL) the log-sum-exp of the scores, [N, H], differentiable. Query
 * head h reads key head h / (H / Hk). A query without a visible key gives 0 and lse -infinity. */
var *ag_attention(tape *t, var *q, var *k, var *v, var *q_offsets, var *k_offsets, var *q_start,
                  var *blocks, const attention_options *o, var **lse);
/* y1, y2 [N, H*D] and lse1, lse2 [N, H] of the same queries over different keys -> attention over all of them */
var *ag_attention_join(tape *t, var *y1, var *lse1, var *y2, var *lse2, var **lse);
/* The same with the second attention added whole: (1 - w) y1 + y2, w its keys' share of all weights; of a share below
 * ATTENTION_SHARE_MIN w / ATTENTION_SHARE_MIN of it */
var *ag_attention_add(tape *t, var *y1, var *lse1, var *y2, var *lse2, var **lse);
/* The plain composition, for tests: scores [N, H, Nk] with -infinity where masked, softmax over the
 * last size (a row of -infinity gives zeros), mix with v. */
var *ag_attention_scores(tape *t, var *q, var *k, var *q_offsets, var *k_offsets, var *q_start,
                         const attention_options *o);
var *ag_softmax(tape *t, var *x);
var *ag_attention_mix(tape *t, var *p, var *v, var *q_offsets, var *k_offsets,
                      const attention_options *o);

/* logits [T, V], targets i32 [T] -> sum of losses [1]; *each (may be NULL): [T], losses by row */
var *ag_cross_entropy(tape *t, var *logits, var *targets, var **each);
/* x -> cap * tanh(x / cap), or x when cap is 0 */
var *ag_softcap(tape *t, var *x, double cap);
/* the same from hidden states x [T, C], w [V, C] of any stored type, b [V] or NULL; the vocabulary goes
 * by in chunks, logits are never stored; softcap: of the logits, 0: none */
var *ag_cross_entropy_head(tape *t, var *x, var *w, var *b, var *targets, double softcap, var **each);
/* a [P, C], b [Q, C], at least as many rows of b in use as of a -> sum over i of the cross-entropy of row i of
 * factor a b^T with the target i, [1]; both: the mean of this and of the same for the first P columns; *products:
 * a b^T, [P, Q]   (van den Oord et al. 2018, InfoNCE) */
var *ag_contrast(tape *t, var *a, var *b, double factor, bool both, var **products);
typedef struct preference_options {
    double beta, smoothing;
    bool   squared, by_token;
} preference_options;
/* each [T], losses by target; offsets i32 [2 P + 1]: targets of sequences, of which 2 i is preferred to 2 i + 1;
 * reference [P, 1] -> sum of the pairs' losses [1]; *margins: beta h, [P]   (Rafailov et al. 2023; formulas in
 * autograd/ops/preference.c) */
var *ag_preference(tape *t, var *each, var *offsets, var *reference, const preference_options *o, var **margins);
/* x [N, K], offsets i32 [S + 1], targets i32 [S, K] -> sum over sequences of the mean over columns of the
 * cross-entropy of a sequence's target, counted from its first row, among its rows [1]; *each (may be NULL): [S] */
var *ag_cross_entropy_place(tape *t, var *x, var *offsets, var *targets, var **each);
/* x, y [T, V], targets i32 [T] -> sum over rows of hard times the cross-entropy of the target, and soft times the
 * divergence of softmax(x / temperature) from softmax(y / temperature) [1]; y has no gradient; *each (may be NULL):
 * [T] */
typedef struct distillation_options {
    double temperature, hard, soft;
} distillation_options;
var *ag_distillation(tape *t, var *x, var *y, var *targets, const distillation_options *o, var **each);
/* x of any shape -> [1] */
var *ag_sum(tape *t, var *x);
/* p [R, K] -> |p p^T - I| [1], the Frobenius norm; turned: |p^T p - I| of p [K, R] */
var *ag_orthogonality(tape *t, var *p, bool turned);
/* x, x0 of one shape, x0 fixed -> sum of |x - x0| [1] */
var *ag_distance(tape *t, var *x, var *x0);

#endif
