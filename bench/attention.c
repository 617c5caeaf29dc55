/* attention: one causal sequence, 9 heads of 64 on 3, as in the 135M trunk */
#include "bench/tape_time.h"

#include <math.h>

enum { HEADS = 9, KV_HEADS = 3, D = 64 };

static status record(tape_time *x, int32_t T)
{
    const attention_options o = {
        .heads = HEADS, .kv_heads = KV_HEADS, .causal = true, .scale = 1 / sqrt(D)};
    int32_t *offsets;
    var *q = tape_time_param(x, shape_2(T, HEADS * D)),
        *k = tape_time_param(x, shape_2(T, KV_HEADS * D));
    var *v = tape_time_param(x, shape_2(T, KV_HEADS * D)),
        *at = tape_time_ints(x, shape_1(2), &offsets);

    TRY(tape_status(x->t));
    offsets[0] = 0;
    offsets[1] = T;
    TRY(tape_time_plan(x, ag_attention(x->t, q, k, v, at, at, NULL, NULL, &o, NULL)));
    const tape_work w = tape_flops(x->t, &(tape_pairs){.own = 0.5 * T * (T + 1.0)});
    x->amount[0] = 1e-9 * w.forward;
    x->amount[2] = 1e-9 * w.backward;
    return STATUS_OK;
}

static status measure(bench *b, tape_time *x, int32_t T)
{
    char what[64];

    TRY(record(x, T));
    for (x->phase = 0; x->phase <= 2; x->phase += 2) {
        snprintf(what, sizeof what, "%s %d", x->phase ? "backward" : "forward", T);
        TRY(bench_time_threads(b, (timed){.what = what, .unit = "GFLOP/s", .ceiling = CEILING_FMA,
                                          .run = tape_time_run, .context = x}));
    }
    return STATUS_OK;
}

status bench_attention(bench *b)
{
    static const int32_t lengths[] = {128, 256, 512, 1024, 2048};

    for (size_t i = 0; i < (b->o.quick ? 1 : COUNT_OF(lengths)); i++) {
        const size_t mark = arena_mark(&b->work);
        tape_time    x;
        TRY(tape_time_open(&x, b, OP_attention));
        const status s = measure(b, &x, b->o.quick ? 32 : lengths[i]);
        tape_time_close(&x);
        arena_rewind(&b->work, mark);
        TRY(s);
    }
    return STATUS_OK;
}
