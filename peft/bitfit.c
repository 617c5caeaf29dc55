/* bitfit: the biases of the sites are trained in their place (Ben Zaken et al. 2022) */
#include "peft/peft.h"

#include "core/json.h"

typedef struct bitfit_options {
    bool nothing;
} bitfit_options;

static const key_table bitfit_table = {.what = "bitfit", .size = sizeof(bitfit_options)};

static status bitfit_open(const peft_attach *at, const void *options, const site *const *sites, int n, void **shared)
{
    (void)options, (void)shared;
    for (int i = 0; i < n; i++)
        if (sites[i]->bias)
            return STATUS_OK;
    return fail(STATUS_USAGE, "bitfit: none of the %d sites of this %s model has a bias", n, at->p->m->family->name);
}

static status bitfit_attach(const peft_attach *at, const void *options, void **state)
{
    (void)options;
    *state = NULL;
    return at->s->bias ? peft_in_place(at->p, at->module, at->s->bias, NULL) : STATUS_OK;
}

static int64_t bitfit_count(const site *s, const void *options)
{
    (void)options;
    return s->bias ? s->out : 0;
}

static status bitfit_write_config(const void *options, cJSON *config)
{
    (void)options;
    cJSON_AddStringToObject(config, "peft_type", "BITFIT");
    return STATUS_OK;
}

static status bitfit_read_config(const cJSON *config, arena *a, void *options, const char *what)
{
    (void)config, (void)a, (void)what;
    *(bitfit_options *)options = (bitfit_options){0};
    return STATUS_OK;
}

const peft_method peft_bitfit = {
    .name = "bitfit",
    .sites = SITE_LINEAR | SITE_HEAD | SITE_NORM,
    .traits = PEFT_IDENTITY_AT_START | PEFT_MERGES,
    .keys = &bitfit_table,
    .help = "Trains the biases only (Ben Zaken et al. 2022).",
    .open = bitfit_open,
    .attach = bitfit_attach,
    .count = bitfit_count,
    .write_config = bitfit_write_config,
    .read_config = bitfit_read_config,
};
