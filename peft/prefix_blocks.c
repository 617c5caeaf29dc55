/* prefix_blocks: see the header */
#include "peft/prefix_blocks.h"

#include <stdio.h>

typedef struct block_prefix {
    peft   *p;
    tuned  *key, *value, *key_scale, *value_scale; /* the latter two: learned, else NULL */
    int32_t from_to[2];
    tensor  offsets;
} block_prefix;

static status add_pair(const peft_attach *at, const char *suffix, shape s, tuned_start start, tuned **key, tuned **value)
{
    char name[64];

    snprintf(name, sizeof name, "prefix_key%s", suffix);
    TRY(peft_tuned(at, name, s, start, key));
    snprintf(name, sizeof name, "prefix_value%s", suffix);
    return peft_tuned(at, name, s, start, value);
}

status prefix_blocks_attach(const peft_attach *at, const prefix_blocks *o, void **state)
{
    const tuned_start start = {.how = o->uniform ? INIT_ABOVE : INIT_NORMAL, .size = o->size};
    block_prefix     *x;

    TRY_TAKE(x, at->p->a, 1);
    *x = (block_prefix){.p = at->p, .from_to = {0, (int32_t)o->tokens}};
    x->offsets = (tensor){.s = shape_1(2), .type = TYPE_I32, .v = x->from_to};
    TRY(add_pair(at, "", shape_2(o->tokens, at->s->out), start, &x->key, &x->value));
    if (o->learned)
        TRY(add_pair(at, "_scale", shape_1(1), START_ONE, &x->key_scale, &x->value_scale));
    at->hook->kv = prefix_blocks_kv;
    at->hook->whole = o->compensate;
    *state = x;
    return STATUS_OK;
}

static var *scaled(tape *t, const block_prefix *x, tuned *rows, tuned *scale)
{
    var *y = peft_value(t, x->p, rows);

    return scale ? ag_scale_by(t, y, peft_var(t, x->p, scale)) : y;
}

void prefix_blocks_kv(tape *t, const site *s, void *state, var **k, var **v, var **offsets)
{
    block_prefix *x = state;

    (void)s;
    *k = scaled(t, x, x->key, x->key_scale);
    *v = scaled(t, x, x->value, x->value_scale);
    *offsets = tape_input(t, &x->offsets);
}

int64_t prefix_blocks_count(const prefix_blocks *o, const site *s)
{
    return 2 * o->tokens * s->out + (o->learned ? 2 : 0);
}
