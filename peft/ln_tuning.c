/* ln_tuning: the norms' weights, and biases where they have some, trained in their place (Zhao et al. 2023, Tuning
 * LayerNorm in Attention) */
#include "peft/peft.h"

#include "core/json.h"

#include <string.h>

typedef struct ln_options {
    bool nothing;
} ln_options;

static const key_table ln_table = {.what = "ln_tuning", .size = sizeof(ln_options)};

static status tune_part(const peft_attach *at, model_weight *w, const char *part)
{
    const char *name = arena_printf(at->p->a, "%s.ln_tuning_layers.%s", at->s->checkpoint, part);

    return name ? peft_in_place(at->p, at->module, w, name) : STATUS_MEMORY;
}

static status ln_attach(const peft_attach *at, const void *options, void **state)
{
    (void)options;
    *state = NULL;
    TRY(tune_part(at, at->s->weight, "weight"));
    return at->s->bias ? tune_part(at, at->s->bias, "bias") : STATUS_OK;
}

static int64_t ln_count(const site *s, const void *options)
{
    (void)options;
    return s->in * (s->bias ? 2 : 1);
}

static status ln_write_config(const void *options, cJSON *config)
{
    (void)options;
    cJSON_AddStringToObject(config, "peft_type", "LN_TUNING");
    return STATUS_OK;
}

static status ln_read_config(const cJSON *config, arena *a, void *options, const char *what)
{
    (void)config, (void)a, (void)what;
    *(ln_options *)options = (ln_options){0};
    return STATUS_OK;
}

static const char *ln_default_targets(const char *family)
{
    return strcmp(family, "llama") == 0 ? "[\"input_layernorm\", \"post_attention_layernorm\", \"norm\"]" : NULL;
}

const peft_method peft_ln_tuning = {
    .name = "ln_tuning",
    .sites = SITE_NORM,
    .traits = PEFT_IDENTITY_AT_START | PEFT_MERGES | PEFT_FILE,
    .keys = &ln_table,
    .help = "Trains the weights and biases of norms (Zhao et al. 2023).",
    .default_targets = ln_default_targets,
    .attach = ln_attach,
    .count = ln_count,
    .write_config = ln_write_config,
    .read_config = ln_read_config,
};
