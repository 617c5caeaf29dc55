/* activation: functions between two linear layers, by the names that configs have for them */
#ifndef LAYERS_ACTIVATION_H
#define LAYERS_ACTIVATION_H

#include "autograd/ops.h"

typedef var *activation(tape *t, var *x);

/* Unknown names are refused with the known ones. */
status activation_find(const char *name, const char *what, activation **out);

/* gelu with the error function, for heads that take it whatever the config says. */
var *activation_gelu(tape *t, var *x);

#endif
