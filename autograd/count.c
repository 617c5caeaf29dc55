/* count: how much a recorded computation holds and how much it must compute */
#include "autograd/graph.h"

tape_counts tape_count(const tape *t)
{
    tape_counts c = {.kept_bytes = t->kept_bytes, .values = t->n_slots};

    for (int i = 0; i < t->n_entries; i++) {
        c.operations += t->entries[i].phase == PHASE_FORWARD;
        c.backward_operations += t->entries[i].phase == PHASE_BACKWARD;
    }
    return c;
}

static double rows_of(const slot *s)
{
    return (double)(s->v.t.rows ? *s->v.t.rows : shape_rows(s->v.t.s));
}

static double last_of(const slot *s)
{
    return (double)shape_last(s->v.t.s);
}

static bool wants(const node *n, int i)
{
    return n->backward && n->in[i] && n->in[i]->v.wanted;
}

/* x [N, K], w [M, K]: one product forward, one for each wanted gradient. */
static void add_product(const node *n, int x, int w, double M, tape_work *out)
{
    const double one = 2 * rows_of(n->in[x]) * last_of(n->in[x]) * M;

    out->forward += one;
    out->backward += one * (wants(n, x) + wants(n, w));
}

/* The two thin products of x [N, K] with a [R, K] and b [M, R], as they lie in weights or turned; the gradient of h
 * is needed for both a and x. */
static void add_factors(const node *n, int x, int a, int b, double R, tape_work *out)
{
    const double N = rows_of(n->in[x]), K = last_of(n->in[x]), M = last_of(n->out[0]);

    out->forward += 2 * N * R * (K + M);
    out->backward += 2 * N * R * (M * ((wants(n, a) || wants(n, x)) + wants(n, b)) +
                                  K * (wants(n, a) + wants(n, x)));
}

/* `one` FLOPs forward, and again for each of the two gradients that is wanted. */
static void add_entries(const node *n, double one, int x, int v, tape_work *out)
{
    out->forward += one;
    out->backward += one * (wants(n, x) + wants(n, v));
}

/* Over keys that are one sequence of their own every query sees all of them. */
static double pairs_of(const node *n, const tape_pairs *p)
{
    if (p->source && &n->in[4]->v == p->source)
        return n->in[3] == n->in[4] ? p->read : p->crossed;
    const bool one = n->in[4] != n->in[3] && n->in[4]->v.t.s.d[0] == 2 && !n->attr.attention.causal;

    return one ? rows_of(n->in[0]) * rows_of(n->in[1]) : p->own;
}

static void add_node(const node *n, const tape_pairs *p, tape_work *out)
{
    double pairs;

    switch (n->op) {
    case OP_linear:
        add_product(n, 0, 1, last_of(n->out[0]), out);
        break;
    case OP_lora:
        add_factors(n, 1, 2, 3, last_of(n->in[3]), out);
        break;
    case OP_linear_lora:
        add_product(n, 0, 1, last_of(n->out[0]), out);
        add_factors(n, 0, 3, 4, last_of(n->in[4]), out);
        break;
    case OP_lora_each:
        add_factors(n, 1, 2, 3, last_of(n->in[2]), out);
        break;
    case OP_lora_routed:
        add_factors(n, 1, 2, 3, last_of(n->in[5]), out);
        break;
    case OP_scores:
        add_product(n, 0, 1, last_of(n->out[0]), out);
        break;
    case OP_mix_skills:
        add_entries(n, 2 * rows_of(n->in[1]) * (double)shape_count(n->in[0]->v.t.s), 0, 1, out);
        break;
    case OP_top_gate:
        add_product(n, 0, 1, last_of(n->out[0]), out);
        break;
    case OP_lora_gated:
        add_factors(n, 1, 2, 2, (double)(n->attr.experts.rank * n->attr.experts.most), out);
        break;
    case OP_sparse:
        add_entries(n, 2 * rows_of(n->in[0]) * last_of(n->in[2]), 1, 2, out);
        break;
    case OP_rotate:
        add_entries(n, 2 * rows_of(n->in[0]) * last_of(n->in[0]) * last_of(n->in[1]), 0, 1, out);
        break;
    case OP_contrast:
        add_product(n, 0, 1, rows_of(n->in[1]), out);
        break;
    case OP_cross_entropy_head:
        add_product(n, 0, 1, (double)n->in[1]->v.t.s.d[0], out);
        break;
    case OP_attention:
        pairs = pairs_of(n, p);
        out->forward += 4 * pairs * last_of(n->in[0]);
        out->backward += n->backward ? 8 * pairs * last_of(n->in[0]) : 0;
        break;
    default: /* by element: not counted */
        break;
    }
}

tape_work tape_flops(const tape *t, const tape_pairs *pairs)
{
    tape_work out = {0};

    for (int i = 0; i < t->n_nodes; i++)
        if (t->nodes[i].live)
            add_node(&t->nodes[i], pairs, &out);
    return out;
}
