/* p_tuning: virtual tokens in front of every sequence, whose embeddings a small network makes while training (Liu et
 * al. 2021, GPT Understands, Too): rows -> linear, relu, linear, relu, linear. Its result is what is stored. */
#include "peft/maker.h"

#include "core/json.h"

#include <string.h>

typedef struct p_tuning_options {
    int64_t     tokens, hidden;
    const char *encoder;
    bool        stored; /* only the result is there */
} p_tuning_options;

#define AT(member) offsetof(p_tuning_options, member)
static const key p_tuning_keys[] = {
    {.name = "tokens", .kind = KEY_INT, .offset = AT(tokens), .preset = "20", .lo = 1, .hi = 65536, .unit = "tokens",
     .help = "Virtual tokens in front of every sequence."},
    {.name = "hidden", .kind = KEY_INT, .offset = AT(hidden), .preset = "128", .lo = 1, .hi = 65536,
     .help = "Width of the network that makes their embeddings."},
    {.name = "encoder", .kind = KEY_CHOICE, .offset = AT(encoder), .preset = "mlp", .choices = "mlp|lstm",
     .help = "Kind of the network; lstm can be read from files, not trained."},
};
static const key_table p_tuning_table = KEY_TABLE("p_tuning", p_tuning_keys, p_tuning_options);

enum { LAYERS = 3 };

typedef struct p_tuning_state {
    peft    *p;
    tuned   *rows; /* stored, else NULL */
    maker *e;
    int32_t  before; /* virtual tokens of other modules in front of these */
} p_tuning_state;

static status p_tuning_attach(const peft_attach *at, const void *options, void **state)
{
    const p_tuning_options *o = options;
    const tuned_start       start = {.how = INIT_NORMAL, .size = 1};
    p_tuning_state         *x;

    if (!o->stored && strcmp(o->encoder, "lstm") == 0)
        return fail(STATUS_UNSUPPORTED, "p_tuning: an lstm encoder cannot be trained in this version; use mlp");
    if (at->s != model_words(at->p->m))
        return fail(STATUS_USAGE, "p_tuning: sits on the embedding of words only");
    TRY_TAKE(x, at->p->a, 1);
    *x = (p_tuning_state){.p = at->p, .before = model_in_front(at->p->m).tokens};
    at->hook->front = (int32_t)o->tokens;
    *state = x;
    if (o->stored)
        return peft_tuned_alone(at, "prompt_embeddings", shape_2(o->tokens, at->s->out), start, &x->rows);
    return maker_open(at, o->tokens, at->s->out, o->hidden, at->s->out, LAYERS, true, &x->e);
}

static var *p_tuning_result(tape *t, void *state)
{
    const p_tuning_state *x = state;

    return x->e ? maker_rows(t, x->e) : NULL;
}

static var *p_tuning_forward(tape *t, const site *s, void *state, var *ids, var *y)
{
    const p_tuning_state *x = state;
    const row_names      *names = &x->p->m->rows;
    var                  *rows = x->e ? maker_rows(t, x->e) : peft_var(t, x->p, x->rows);

    (void)s, (void)ids;
    return ag_replace_rows(t, y, rows, names->positions, NULL, names->first + x->before);
}

static int64_t p_tuning_count(const site *s, const void *options)
{
    const p_tuning_options *o = options;

    return o->stored ? s->out * o->tokens : maker_count(o->tokens, s->out, o->hidden, s->out, LAYERS);
}

static status p_tuning_write_config(const void *options, cJSON *config)
{
    const p_tuning_options *o = options;

    cJSON_AddStringToObject(config, "peft_type", "P_TUNING");
    cJSON_AddNumberToObject(config, "num_virtual_tokens", (double)o->tokens);
    cJSON_AddStringToObject(config, "encoder_reparameterization_type",
                            strcmp(o->encoder, "lstm") == 0 ? "LSTM" : "MLP");
    cJSON_AddNumberToObject(config, "encoder_hidden_size", (double)o->hidden);
    return STATUS_OK;
}

static status p_tuning_read_config(const cJSON *config, arena *a, void *options, const char *what)
{
    p_tuning_options *o = options;
    const char       *kind = "MLP";

    (void)a;
    *o = (p_tuning_options){.hidden = 128, .stored = true};
    TRY(json_int(config, "num_virtual_tokens", true, 1, 65536, &o->tokens, what));
    TRY(json_int(config, "encoder_hidden_size", false, 1, 65536, &o->hidden, what));
    TRY(json_string(config, "encoder_reparameterization_type", false, &kind, what));
    if (strcmp(kind, "MLP") != 0 && strcmp(kind, "LSTM") != 0)
        return fail(STATUS_FORMAT, "%s: encoder_reparameterization_type is '%s', must be MLP or LSTM", what, kind);
    o->encoder = strcmp(kind, "LSTM") == 0 ? "lstm" : "mlp";
    return STATUS_OK;
}

static void p_tuning_with_encoder(void *options)
{
    ((p_tuning_options *)options)->stored = false;
}

const peft_method peft_p_tuning = {
    .name = "p_tuning",
    .sites = SITE_EMBEDDING,
    .traits = PEFT_FILE,
    .everywhere = true,
    .keys = &p_tuning_table,
    .help = "Virtual tokens whose embeddings a small network makes while training (Liu et al. 2021).",
    .attach = p_tuning_attach,
    .forward = p_tuning_forward,
    .result = p_tuning_result,
    .with_encoder = p_tuning_with_encoder,
    .count = p_tuning_count,
    .write_config = p_tuning_write_config,
    .read_config = p_tuning_read_config,
};
