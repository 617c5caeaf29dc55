/* maker: see the header */
#include "peft/maker.h"

static int64_t width_of(int i, int64_t width, int64_t hidden)
{
    return i == 0 ? width : hidden;
}

status maker_open(const peft_attach *at, int64_t tokens, int64_t width, int64_t hidden, int64_t out, int layers,
                    bool relu, maker **e)
{
    const tuned_start start = {.how = INIT_NORMAL, .size = 1};
    maker          *x;

    CHECK(layers <= MAKER_LAYERS_MAX);
    TRY_TAKE(x, at->p->a, 1);
    *x = (maker){.p = at->p, .layers = layers, .relu = relu};
    TRY(peft_tuned_alone(at, "prompt_encoder.embedding.weight", shape_2(tokens, width), start, &x->rows));
    x->rows->aside = true;
    for (int i = 0; i < layers; i++) {
        const int64_t from = width_of(i, width, hidden), to = i == layers - 1 ? out : hidden;
        char *const   w = arena_printf(at->p->a, "prompt_encoder.mlp_head.%d.weight", 2 * i);
        char *const   b = arena_printf(at->p->a, "prompt_encoder.mlp_head.%d.bias", 2 * i);
        TRY(peft_tuned_alone(at, w, shape_2(to, from), start_linear(from), &x->w[i]));
        TRY(peft_tuned_alone(at, b, shape_1(to), start_linear(from), &x->b[i]));
        x->w[i]->aside = x->b[i]->aside = true;
    }
    *e = x;
    return STATUS_OK;
}

int64_t maker_count(int64_t tokens, int64_t width, int64_t hidden, int64_t out, int layers)
{
    int64_t n = tokens * width;

    for (int i = 0; i < layers; i++)
        n += (width_of(i, width, hidden) + 1) * (i == layers - 1 ? out : hidden);
    return n;
}

var *maker_rows(tape *t, const maker *e)
{
    var *x = peft_value(t, e->p, e->rows);

    for (int i = 0; i < e->layers; i++) {
        if (i > 0)
            x = e->relu ? ag_relu(t, x) : ag_tanh(t, x);
        x = ag_linear(t, x, peft_var(t, e->p, e->w[i]), peft_var(t, e->p, e->b[i]));
    }
    return x;
}
