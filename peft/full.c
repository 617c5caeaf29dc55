/* full: the weights of the sites, and their biases, are trained in their place. The file holds them whole. */
#include "peft/sparse_delta.h"

#include "core/json.h"

typedef struct full_options {
    bool   bias, norms, head, untie;
    double l1;
} full_options;

#define AT(member) offsetof(full_options, member)
static const key full_keys[] = {
    {.name = "bias", .kind = KEY_BOOL, .offset = AT(bias), .preset = "yes",
     .help = "Train the biases of the sites too."},
    {.name = "norms", .kind = KEY_BOOL, .offset = AT(norms), .preset = "yes", .help = "Train norms among the sites too."},
    {.name = "head", .kind = KEY_BOOL, .offset = AT(head), .preset = "yes",
     .help = "Train the output projection among the sites too."},
    {.name = "untie", .kind = KEY_BOOL, .offset = AT(untie), .preset = "no",
     .help = "A head that shares the embedding's weight keeps it as it is."},
    {.name = "l1", .kind = KEY_REAL, .offset = AT(l1), .preset = "0", .lo = 0, .hi = 1e9,
     .help = "Weight in the loss of the values' summed distance from their start, divided by the number of all values of "
             "the model."},
};
static const key_table full_table = KEY_TABLE("full", full_keys, full_options);

static bool takes(const full_options *o, const site *s)
{
    return (s->kind != SITE_NORM || o->norms) && (s->kind != SITE_HEAD || o->head);
}

static status full_open(const peft_attach *at, const void *options, const site *const *sites, int n, void **shared)
{
    const full_options *o = options;
    bool                any = n == 0;

    (void)shared;
    for (int i = 0; i < n; i++)
        any |= takes(o, sites[i]);
    if (!any)
        return fail(STATUS_USAGE, "full: the %d sites are norms or the head, which stay as they are with `norms: no` and "
                    "`head: no`", n);
    return o->untie ? peft_untie(at->p) : STATUS_OK;
}

static status full_attach(const peft_attach *at, const void *options, void **state)
{
    *state = NULL;
    if (!takes(options, at->s))
        return STATUS_OK;
    TRY(peft_in_place(at->p, at->module, at->s->weight, NULL)); /* embedding and tied head are one */
    if (!at->s->bias || !((const full_options *)options)->bias)
        return STATUS_OK;
    return peft_in_place(at->p, at->module, at->s->bias, NULL);
}

static int64_t full_count(const site *s, const void *options)
{
    if (!takes(options, s))
        return 0;
    return shape_count(s->weight->value.s) + (s->bias && ((const full_options *)options)->bias ? s->out : 0);
}

/* What the sites count twice. */
static int64_t full_count_beside(const peft *p, int number, const void *options)
{
    const module *m = &p->modules[number];
    int64_t       n = 0;

    for (int i = 0; i < m->n_sites; i++)
        for (int k = 0; k < i; k++)
            if (m->at[k]->weight == m->at[i]->weight && takes(options, m->at[i]) && takes(options, m->at[k]))
                n -= shape_count(m->at[i]->weight->value.s);
    return n;
}

static void full_extra_loss(tape *t, const peft *p, int number, const void *options, peft_losses *l)
{
    sparse_delta_penalty(t, p, number, ((const full_options *)options)->l1, l);
}

static status full_write_config(const void *options, cJSON *config)
{
    const full_options *o = options;

    cJSON_AddStringToObject(config, "peft_type", "FULL");
    cJSON_AddBoolToObject(config, "bias", o->bias);
    cJSON_AddBoolToObject(config, "norms", o->norms);
    cJSON_AddBoolToObject(config, "head", o->head);
    cJSON_AddBoolToObject(config, "untie", o->untie);
    cJSON_AddNumberToObject(config, "l1", o->l1);
    return STATUS_OK;
}

static status full_read_config(const cJSON *config, arena *a, void *options, const char *what)
{
    full_options *o = options;

    (void)a;
    *o = (full_options){.bias = true, .norms = true, .head = true};
    TRY(json_bool(config, "bias", false, &o->bias, what));
    TRY(json_bool(config, "norms", false, &o->norms, what));
    TRY(json_bool(config, "head", false, &o->head, what));
    TRY(json_bool(config, "untie", false, &o->untie, what));
    TRY(json_double(config, "l1", false, &o->l1, what));
    if (!(o->l1 >= 0 && o->l1 <= 1e9))
        return fail(STATUS_FORMAT, "%s: l1 is %g, must be 0..1e9", what, o->l1);
    return STATUS_OK;
}

const peft_method peft_full = {
    .name = "full",
    .sites = SITE_LINEAR | SITE_HEAD | SITE_NORM | SITE_EMBEDDING,
    .traits = PEFT_IDENTITY_AT_START | PEFT_MERGES,
    .keys = &full_table,
    .help = "Trains whole weights in their place: full fine-tuning of what is selected.",
    .open = full_open,
    .attach = full_attach,
    .extra_loss = full_extra_loss,
    .count = full_count,
    .count_beside = full_count_beside,
    .write_config = full_write_config,
    .read_config = full_read_config,
};
