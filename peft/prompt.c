/* prompt: n trained rows in front of every sequence, as if they were the embeddings of n more words (Lester et al.
 * 2021) */
#include "peft/peft.h"

#include "core/json.h"

typedef struct prompt_options {
    int64_t tokens;
    double  deviation;
} prompt_options;

#define AT(member) offsetof(prompt_options, member)
static const key prompt_keys[] = {
    {.name = "tokens", .kind = KEY_INT, .offset = AT(tokens), .preset = "20", .lo = 1, .hi = 65536, .unit = "tokens",
     .help = "Virtual tokens in front of every sequence."},
    {.name = "deviation", .kind = KEY_REAL, .offset = AT(deviation), .preset = "1", .lo = 0, .hi = 100,
     .help = "Deviation of the normal numbers that their embeddings start with."},
};
static const key_table prompt_table = KEY_TABLE("prompt", prompt_keys, prompt_options);

typedef struct prompt_state {
    peft   *p;
    tuned  *rows;
    int32_t before; /* virtual tokens of other modules in front of these */
} prompt_state;

static status prompt_attach(const peft_attach *at, const void *options, void **state)
{
    const prompt_options *o = options;
    const tuned_start     start = {.how = INIT_NORMAL, .size = o->deviation};
    prompt_state         *x;

    if (at->s != model_words(at->p->m))
        return fail(STATUS_USAGE, "prompt: sits on the embedding of words only");
    TRY_TAKE(x, at->p->a, 1);
    *x = (prompt_state){.p = at->p, .before = model_in_front(at->p->m).tokens};
    at->hook->front = (int32_t)o->tokens;
    *state = x;
    return peft_tuned_alone(at, "prompt_embeddings", shape_2(o->tokens, at->s->out), start, &x->rows);
}

static var *prompt_forward(tape *t, const site *s, void *state, var *ids, var *y)
{
    const prompt_state *x = state;
    const row_names    *rows = &x->p->m->rows;

    (void)s, (void)ids;
    return ag_replace_rows(t, y, peft_var(t, x->p, x->rows), rows->positions, NULL, rows->first + x->before);
}

static int64_t prompt_count(const site *s, const void *options)
{
    return s->out * ((const prompt_options *)options)->tokens;
}

static status prompt_write_config(const void *options, cJSON *config)
{
    cJSON_AddStringToObject(config, "peft_type", "PROMPT_TUNING");
    cJSON_AddNumberToObject(config, "num_virtual_tokens", (double)((const prompt_options *)options)->tokens);
    cJSON_AddStringToObject(config, "prompt_tuning_init", "RANDOM");
    return STATUS_OK;
}

static status prompt_read_config(const cJSON *config, arena *a, void *options, const char *what)
{
    prompt_options *o = options;

    (void)a;
    *o = (prompt_options){.deviation = 1};
    return json_int(config, "num_virtual_tokens", true, 1, 65536, &o->tokens, what);
}

const peft_method peft_prompt = {
    .name = "prompt",
    .sites = SITE_EMBEDDING,
    .traits = PEFT_FILE,
    .everywhere = true,
    .keys = &prompt_table,
    .help = "Trained embeddings of virtual tokens in front of every sequence (Lester et al. 2021).",
    .peft_type = "PROMPT_TUNING",
    .attach = prompt_attach,
    .forward = prompt_forward,
    .count = prompt_count,
    .write_config = prompt_write_config,
    .read_config = prompt_read_config,
};
