/* full: the weights of the sites, and their biases, are trained in their place. The file holds them whole. */
#include "peft/peft.h"

#include "core/json.h"

typedef struct full_options {
    bool bias;
} full_options;

#define AT(member) offsetof(full_options, member)
static const key full_keys[] = {
    {.name = "bias", .kind = KEY_BOOL, .offset = AT(bias), .preset = "yes",
     .help = "Train the biases of the sites too."},
};
static const key_table full_table = KEY_TABLE("full", full_keys, full_options);

static status full_attach(const peft_attach *at, const void *options, void **state)
{
    *state = NULL;
    TRY(peft_in_place(at->p, at->module, at->s->weight, NULL)); /* embedding and tied head are one */
    if (!at->s->bias || !((const full_options *)options)->bias)
        return STATUS_OK;
    return peft_in_place(at->p, at->module, at->s->bias, NULL);
}

static int64_t full_count(const site *s, const void *options)
{
    return shape_count(s->weight->value.s) + (s->bias && ((const full_options *)options)->bias ? s->out : 0);
}

/* What the sites count twice. */
static int64_t full_count_beside(const peft *p, int number, const void *options)
{
    const module *m = &p->modules[number];
    int64_t       n = 0;

    (void)options;
    for (int i = 0; i < m->n_sites; i++)
        for (int k = 0; k < i; k++)
            if (m->at[k]->weight == m->at[i]->weight)
                n -= shape_count(m->at[i]->weight->value.s);
    return n;
}

static status full_write_config(const void *options, cJSON *config)
{
    cJSON_AddStringToObject(config, "peft_type", "FULL");
    cJSON_AddBoolToObject(config, "bias", ((const full_options *)options)->bias);
    return STATUS_OK;
}

static status full_read_config(const cJSON *config, arena *a, void *options, const char *what)
{
    full_options *o = options;

    (void)a;
    *o = (full_options){.bias = true};
    return json_bool(config, "bias", false, &o->bias, what);
}

const peft_method peft_full = {
    .name = "full",
    .sites = SITE_LINEAR | SITE_HEAD | SITE_NORM | SITE_EMBEDDING,
    .traits = PEFT_IDENTITY_AT_START | PEFT_MERGES,
    .keys = &full_table,
    .help = "Trains whole weights in their place: full fine-tuning of what is selected.",
    .attach = full_attach,
    .count = full_count,
    .count_beside = full_count_beside,
    .write_config = full_write_config,
    .read_config = full_read_config,
};
