/* tape_time: small tapes around one operation */
#include "bench/tape_time.h"

#include "core/rng.h"

static const op_run training = {.seed = 1, .step = 1, .training = true};

/* A tensor of noise that lives as long as the measurement; NULL after a failure. */
static tensor *take(tape_time *x, shape s, dtype type)
{
    tensor *t = arena_take(x->a, 1, sizeof *t);

    if (!t)
        return NULL;
    *t = (tensor){.s = s, .type = type};
    t->v = arena_take(x->a, (size_t)shape_count(s), sizeof(float));
    if (t->v && type == TYPE_F32)
        rng_fill_normal(rng_key_for(1, "bench"), (uint64_t)arena_mark(x->a), 1, t->v,
                        shape_count(s));
    return t->v ? t : NULL;
}

static var *placed(tape_time *x, tensor *t, tensor *grad)
{
    if (!t)
        return tape_fail(x->t, STATUS_MEMORY);
    return grad ? tape_param(x->t, t, grad) : tape_tensor(x->t, t);
}

status tape_time_open(tape_time *x, bench *b, op_code op)
{
    *x = (tape_time){.a = &b->work, .op = op};
    return tape_open(&x->t, TYPE_F32);
}

var *tape_time_param(tape_time *x, shape s)
{
    tensor *t = take(x, s, TYPE_F32), *g = take(x, s, TYPE_F32);

    return placed(x, g ? t : NULL, g);
}

var *tape_time_fixed(tape_time *x, shape s)
{
    return placed(x, take(x, s, TYPE_F32), NULL);
}

var *tape_time_ints(tape_time *x, shape s, int32_t **v)
{
    tensor *t = take(x, s, TYPE_I32);

    *v = t ? t->v : NULL;
    return placed(x, t, NULL);
}

static void observe(void *context, op_code op, const char *place, int phase, double seconds)
{
    tape_time *x = context;

    (void)place;
    if (op == x->op && phase == x->phase)
        x->seconds += seconds;
}

status tape_time_plan(tape_time *x, var *out)
{
    tensor *upstream = take(x, out->t.s, TYPE_F32);

    if (!upstream)
        return STATUS_MEMORY;
    x->out = out;
    tape_keep(x->t, out);
    tape_seed(x->t, out, upstream);
    TRY(tape_plan(x->t, NULL, RECOMPUTE_NONE));
    TRY(tape_bind(x->t, x->a));
    tape_set_run(x->t, &training);
    tape_observe(x->t, observe, x);
    return STATUS_OK;
}

void tape_time_close(tape_time *x)
{
    tape_close(x->t);
}

status tape_time_run(void *context, reading *r)
{
    tape_time *x = context;

    x->seconds = 0;
    tape_forward(x->t);
    if (x->phase != 0)
        tape_backward(x->t);
    *r = (reading){.seconds = x->seconds, .amount = x->amount[x->phase]};
    return STATUS_OK;
}
