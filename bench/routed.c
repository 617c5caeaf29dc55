/* routed: what smora's ranks cost: a step with 256 of them against one with 32, of which as many work, with and
 * without the gate's own product, which grows with them; and both forms of the product behind it, by ranks */
#include "bench/tape_time.h"
#include "bench/trial.h"

#include "autograd/op_table.h"

#include <string.h>

enum { ACTIVE = 8, FEW = 32, MANY = 256, TURNS = 7 };

/* ---- growth -------------------------------------------------------------------------------------------- */

static void observe(void *context, op_code op, const char *place, int phase, double seconds)
{
    double *gate = context;

    (void)place, (void)phase;
    if (op == OP_scores)
        *gate += seconds;
}

static status step_of(trial *t, double *whole, double *without_gate)
{
    reading r;
    double  gate = 0;

    tape_observe(t->x.t, observe, &gate);
    const status s = trial_step(t, &r);
    tape_observe(t->x.t, NULL, NULL);
    *whole = r.seconds;
    *without_gate = r.seconds - gate;
    return s;
}

/* The two in turns, so that what else the machine does hits both. */
static status compare(bench *b, trial both[2])
{
    const int turns = b->o.quick ? 3 : TURNS;
    double    ratio[2][TURNS], seconds[2][2];

    for (int turn = -1; turn < turns; turn++) { /* the first warms up */
        for (int i = 0; i < 2; i++)
            TRY(step_of(&both[i], &seconds[0][i], &seconds[1][i]));
        for (int k = 0; k < 2 && turn >= 0; k++)
            ratio[k][turn] = seconds[k][1] / seconds[k][0];
    }
    for (int k = 0; k < 2; k++) {
        const char  *what = k ? "256 ranks over 32, without the gate's product"
                              : "256 ranks over 32, 8 of them at work";
        const double middle = bench_median(ratio[k], turns); /* which sorts them */
        TRY(bench_keep(b, &(figure){.what = what, .unit = "x time", .threads = b->most_threads, .n = turns,
                                    .value = middle, .best = ratio[k][0], .worst = ratio[k][turns - 1]}, NULL));
    }
    return STATUS_OK;
}

static status open_ranks(bench *b, trial *t, int ranks)
{
    const char      *module = arena_printf(b->a, "method: smora, at: all-linear, rank: %d, active: %d", ranks,
                                           ACTIVE);
    const trial_spec s = {b->o.base, module, b->o.tokens / 2, b->o.tokens / 2, NULL};

    return module ? trial_open_spec(t, b, &s) : STATUS_MEMORY;
}

static status growth(bench *b)
{
    trial both[2] = {{0}};

    if (!bench_wants(b, "256 ranks over 32"))
        return STATUS_OK;
    status s = open_ranks(b, &both[0], FEW);
    if (s == STATUS_OK)
        s = open_ranks(b, &both[1], MANY);
    if (s == STATUS_OK)
        s = compare(b, both);
    trial_close(&both[1]);
    trial_close(&both[0]);
    return s;
}

/* ---- both forms ---------------------------------------------------------------------------------------- */

static status time_form(bench *b, routed_form form, int ranks, int phase)
{
    static const char *const forms[] = {"", "masked", "gathered"}, *const phases[] = {"forward", "", "backward"};
    const int64_t N = b->o.quick ? 64 : 512, C = b->o.quick ? 96 : 576;
    const char   *what = arena_printf(b->a, "%s %s, %d of %d ranks", forms[form], phases[phase], ACTIVE, ranks);
    tape_time     x;
    var          *chosen;

    if (!what || !bench_wants(b, what))
        return what ? STATUS_OK : STATUS_MEMORY;
    TRY(tape_time_open(&x, b, OP_lora_routed));
    x.phase = phase;
    for (int p = 0; p < 3; p++)
        x.amount[p] = 1;
    var *in = tape_time_param(&x, shape_2(N, C));
    var *gates = ag_route(x.t, tape_time_param(&x, shape_2(N, ranks)), tape_time_fixed(&x, shape_1(ranks)), ACTIVE,
                          true, &chosen);
    var *y = ag_lora_routed(x.t, tape_time_param(&x, shape_2(N, C)), in, tape_time_param(&x, shape_2(ranks, C)),
                            tape_time_param(&x, shape_2(C, ranks)), gates, chosen, 2, form);
    status s = tape_time_plan(&x, y);
    if (s == STATUS_OK)
        s = bench_time(b, &(timed){.what = what, .unit = "ms", .ceiling = CEILING_FMA, .beside = true,
                                   .inverse = true, .threads = b->most_threads, .run = tape_time_run, .context = &x},
                       NULL);
    tape_time_close(&x);
    return s;
}

status bench_routed(bench *b)
{
    static const int ranks[] = {16, 32, 64, 128, 256};

    for (size_t i = 0; i < COUNT_OF(ranks); i++)
        for (int phase = 0; phase <= 2; phase += 2)
            for (int form = ROUTED_MASKED; form <= ROUTED_GATHERED; form++) {
                const size_t mark = arena_mark(&b->work);
                TRY(time_form(b, (routed_form)form, ranks[i], phase));
                arena_rewind(&b->work, mark);
            }
    return growth(b);
}
