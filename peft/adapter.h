/* adapter: the two halves of an adapter folder. Callers use peft/peft.h. */
#ifndef PEFT_ADAPTER_H
#define PEFT_ADAPTER_H

#include "peft/peft.h"

/* Where tensors that make others lie beside an adapter's own. */
#define ENCODER_FILE "encoder.safetensors"

/* Writes adapter_config.json of one module into its folder. */
status adapter_write_config(const peft *p, int number, const char *folder, const adapter_info *info);

/* What the file remembers of the module that was trained (peft_method.trained_as); NULL: nothing. */
status adapter_trained_as(arena *a, const char *folder, const char **was);

#endif
