/* gates: the mixture of gated low-rank modules at one site of the 135M trunk (peft/router.h), forward and backward
 * with frozen modules, at equal k: with 64 of them it should take what it takes with 8. The gate's own product, which
 * grows with their number, is left out. */
#include "bench/tape_time.h"

enum { RANK = 8, CHOSEN = 2 };

typedef struct mixture {
    tape_time x;
    double    seconds; /* of all operations but the gate's */
} mixture;

static void observe(void *context, op_code op, const char *place, int phase, double seconds)
{
    mixture *m = context;

    (void)place, (void)phase;
    if (op != OP_top_gate)
        m->seconds += seconds;
}

static status run(void *context, reading *r)
{
    mixture *m = context;

    m->seconds = 0;
    tape_forward(m->x.t);
    tape_backward(m->x.t);
    *r = (reading){.seconds = m->seconds, .amount = 1};
    return STATUS_OK;
}

static int64_t steps_of(int64_t values)
{
    return (values + EXPERT_STEP - 1) / EXPERT_STEP;
}

/* N rows of C values through E modules, sorted or as one product. */
static status record(mixture *m, int64_t N, int64_t C, int32_t E, bool sorted)
{
    tape_time    *x = &m->x;
    tape         *t = x->t;
    const int64_t step = steps_of(RANK * C);
    int32_t      *rows, *owners;
    var *in = tape_time_param(x, shape_2(N, C)), *y = tape_time_param(x, shape_2(N, C)), *z, *b;
    var *values = tape_time_fixed(x, shape_1(2 * E * step * EXPERT_STEP)), *scales = tape_time_fixed(x, shape_1(E));
    var *table = tape_time_ints(x, shape_2(E, 3), &rows), *owner = tape_time_ints(x, shape_1(E * RANK), &owners);
    var *gate = tape_time_param(x, shape_2(E, C));

    TRY(tape_status(t));
    for (int32_t e = 0; e < E; e++) {
        rows[3 * e] = RANK;
        rows[3 * e + 1] = (int32_t)(2 * e * step);
        rows[3 * e + 2] = (int32_t)((2 * e + 1) * step);
        for (int32_t r = 0; r < RANK; r++)
            owners[e * RANK + r] = e;
    }
    var *w = ag_top_gate(t, in, gate, CHOSEN, 1, &z);
    if (sorted)
        y = ag_lora_gated(t, y, in, values, w, table, scales, RANK, CHOSEN);
    else {
        var *a = ag_stack_factors(t, values, table, E * RANK, C, C, &b);
        y = ag_add(t, y, ag_linear(t, ag_gain_columns(t, ag_linear(t, in, a, NULL), w, owner, scales), b, NULL));
    }
    TRY(tape_time_plan(x, y));
    tape_observe(t, observe, m);
    return STATUS_OK;
}

static status measure(bench *b, int32_t E, bool sorted, figure **f)
{
    const size_t mark = arena_mark(&b->work);
    const char  *what = arena_printf(b->a, "%s, %d modules", sorted ? "sorted" : "one product", E);
    mixture      m;

    if (!what)
        return STATUS_MEMORY;
    TRY(tape_time_open(&m.x, b, OP_top_gate));
    status s = b->o.quick ? record(&m, 64, 64, E, sorted) : record(&m, 768, 576, E, sorted);
    if (s == STATUS_OK)
        s = bench_time(b, &(timed){.what = what, .unit = "ms", .ceiling = CEILING_FMA, .threads = b->most_threads,
                                   .run = run, .context = &m, .inverse = true, .beside = true}, f);
    tape_time_close(&m.x);
    arena_rewind(&b->work, mark);
    return s;
}

status bench_gates(bench *b)
{
    for (int sorted = 0; sorted < 2; sorted++) {
        figure *few, *many;
        TRY(measure(b, 8, sorted, &few));
        TRY(measure(b, 64, sorted, &many));
        if (few && many)
            TRY(bench_note(b, many, "%.2f times the time of 8", many->value / few->value));
    }
    return STATUS_OK;
}
