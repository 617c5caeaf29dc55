/* ia3: one tuned vector a site, starting at one: y' = y * l, bias included; at sites called feedforward the input
 * is scaled instead, x' = x * l (Liu et al. 2022, section 3.3) */
#include "peft/peft.h"

#include "core/json.h"
#include "core/text.h"

#include <string.h>

typedef struct ia3_options {
    key_texts feedforward;
} ia3_options;

#define AT(member) offsetof(ia3_options, member)
static const key ia3_keys[] = {
    {.name = "feedforward", .kind = KEY_TEXTS, .offset = AT(feedforward), .preset = "[down_proj]",
     .help = "Ends of checkpoint names of the sites whose input is scaled, not their output."},
};
static const key_table ia3_table = KEY_TABLE("ia3", ia3_keys, ia3_options);

typedef struct ia3_state {
    peft  *p;
    tuned *l;
} ia3_state;

/* PEFT's rule: the whole name or its end, with or without a dot before it. */
static bool is_feedforward(const ia3_options *o, const site *s)
{
    for (int i = 0; i < o->feedforward.n; i++)
        if (text_ends(s->checkpoint, o->feedforward.v[i]))
            return true;
    return false;
}

static status ia3_attach(const peft_attach *at, const void *options, void **state)
{
    const bool  input = is_feedforward(options, at->s);
    const shape s = input ? shape_2(1, at->s->in) : shape_2(at->s->out, 1);
    ia3_state  *x;

    TRY_TAKE(x, at->p->a, 1);
    x->p = at->p;
    TRY(peft_tuned(at, "ia3_l", s, START_ONE, &x->l));
    if (input)
        at->hook->output = NULL;
    else
        at->hook->input = NULL;
    *state = x;
    return STATUS_OK;
}

static var *ia3_input(tape *t, const site *s, void *state, var *x)
{
    const ia3_state *i = state;

    (void)s;
    return ag_affine(t, x, peft_var(t, i->p, i->l), NULL);
}

static var *ia3_output(tape *t, const site *s, void *state, var *x, var *y)
{
    (void)x;
    return ia3_input(t, s, state, y);
}

static int64_t ia3_count(const site *s, const void *options)
{
    return is_feedforward(options, s) ? s->in : s->out;
}

static status ia3_write_config(const void *options, cJSON *config)
{
    const ia3_options *o = options;
    cJSON             *list;

    cJSON_AddStringToObject(config, "peft_type", "IA3");
    list = cJSON_AddArrayToObject(config, "feedforward_modules");
    for (int i = 0; i < o->feedforward.n; i++)
        cJSON_AddItemToArray(list, cJSON_CreateString(o->feedforward.v[i]));
    cJSON_AddBoolToObject(config, "fan_in_fan_out", false);
    cJSON_AddBoolToObject(config, "init_ia3_weights", true);
    return STATUS_OK;
}

static status ia3_read_config(const cJSON *config, arena *a, void *options, const char *what)
{
    ia3_options *o = options;

    *o = (ia3_options){0};
    return json_texts(config, "feedforward_modules", a, &o->feedforward, what);
}

static const char *ia3_default_targets(const char *family)
{
    return strcmp(family, "llama") == 0 ? "[\"k_proj\", \"v_proj\", \"down_proj\"]" : NULL;
}

const peft_method peft_ia3 = {
    .name = "ia3",
    .sites = SITE_LINEAR | SITE_HEAD,
    .traits = PEFT_IDENTITY_AT_START | PEFT_MERGES | PEFT_FILE,
    .keys = &ia3_table,
    .help = "Learned vectors that scale keys, values and the inner activations (Liu et al. 2022).",
    .default_targets = ia3_default_targets,
    .attach = ia3_attach,
    .input = ia3_input,
    .forward = ia3_output,
    .count = ia3_count,
    .write_config = ia3_write_config,
    .read_config = ia3_read_config,
};
