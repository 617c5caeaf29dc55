/* activation: see the header */
#include "layers/activation.h"

#include <stdio.h>
#include <string.h>

var *activation_gelu(tape *t, var *x)
{
    return ag_gelu(t, x, GELU_ERF);
}

static var *gelu_tanh(tape *t, var *x)
{
    return ag_gelu(t, x, GELU_TANH);
}

static var *gelu_quick(tape *t, var *x)
{
    return ag_gelu(t, x, GELU_QUICK);
}

static var *linear(tape *t, var *x)
{
    (void)t;
    return x;
}

static const struct {
    const char *name;
    activation *function;
} known[] = {{"gelu", activation_gelu},     {"gelu_python", activation_gelu}, {"gelu_new", gelu_tanh},
             {"gelu_fast", gelu_tanh},      {"gelu_pytorch_tanh", gelu_tanh}, {"gelu_accurate", gelu_tanh},
             {"quick_gelu", gelu_quick},    {"relu", ag_relu},                {"silu", ag_silu},
             {"swish", ag_silu},            {"tanh", ag_tanh},
             {"linear", linear}};

status activation_find(const char *name, const char *what, activation **out)
{
    char names[256] = "";

    for (size_t i = 0; i < COUNT_OF(known); i++) {
        if (strcmp(known[i].name, name) == 0) {
            *out = known[i].function;
            return STATUS_OK;
        }
        snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s", i ? ", " : "", known[i].name);
    }
    return fail(STATUS_UNSUPPORTED, "%s: the activation is '%s', must be one of: %s", what, name, names);
}
