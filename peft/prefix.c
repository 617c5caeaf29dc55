/* prefix: trained keys and values in front of every sequence, in every block: n rows a block that every query sees
 * (Li and Liang 2021). One tensor [n, 2 * blocks * width]: columns 2l are the keys of block l, 2l + 1 its values.
 * Keys are not turned by positions; a sequence's own tokens begin at position n. With a projection the rows are made by
 * a network while training (section 4.3), rows -> linear, tanh, linear; the result is what is stored.
 *
 * With `compensate` or `learned` they are those of Gao et al. 2023 (LAE), of any blocks: peft/prefix_blocks.h. */
#include "peft/maker.h"
#include "peft/prefix_blocks.h"

#include "core/json.h"

#include <string.h>

typedef struct prefix_options {
    int64_t tokens, hidden;
    double  deviation;
    bool    projection, compensate, learned;
    const char *init;
} prefix_options;

#define AT(member) offsetof(prefix_options, member)
static const key prefix_keys[] = {
    {.name = "tokens", .kind = KEY_INT, .offset = AT(tokens), .preset = "20", .lo = 1, .hi = 65536, .unit = "tokens",
     .help = "Keys and values in front of every sequence, in each block."},
    {.name = "deviation", .kind = KEY_REAL, .offset = AT(deviation), .preset = "1", .lo = 0, .hi = 100,
     .help = "Deviation of the normal numbers they start with; or the largest uniform one."},
    {.name = "projection", .kind = KEY_BOOL, .offset = AT(projection), .preset = "no",
     .help = "Make them by a network of two layers while training."},
    {.name = "hidden", .kind = KEY_INT, .offset = AT(hidden), .preset = "128", .lo = 1, .hi = 65536,
     .help = "Width of that network."},
    {.name = "compensate", .kind = KEY_BOOL, .offset = AT(compensate), .preset = "no",
     .help = "Add attention to them as a whole, divided by its share; of any blocks, and tokens keep their positions."},
    {.name = "learned", .kind = KEY_BOOL, .offset = AT(learned), .preset = "no",
     .help = "Train a factor of a block's keys and one of its values, which start at 1; also of any blocks."},
    {.name = "init", .kind = KEY_CHOICE, .offset = AT(init), .preset = "normal", .choices = "normal|uniform",
     .help = "With `compensate` or `learned`: the numbers they start with; uniform: from 0 to `deviation`."},
};
static const key_table prefix_table = KEY_TABLE("prefix", prefix_keys, prefix_options);

/* What the blocks share. */
typedef struct prefix_all {
    peft    *p;
    tuned   *rows; /* or made by e, as `now` on the tape that is recorded */
    maker *e;
    var     *now;
    int32_t  from_to[2];
    tensor   offsets;
} prefix_all;

enum { LAYERS = 2 };

/* Before the first block: the rows are made once for all. */
static var *make_rows(tape *t, const site *s, void *state, var *ids, var *y)
{
    prefix_all *x = state;

    (void)s, (void)ids;
    x->now = maker_rows(t, x->e);
    return y;
}

static status open_projection(const peft_attach *at, const prefix_options *o, int64_t width, int n, prefix_all *x)
{
    const peft_extra first = {.hook = {.output = make_rows}};

    TRY(peft_hang(at->p, at->module, model_words(at->p->m), &first, x));
    return maker_open(at, o->tokens, width, o->hidden, 2 * n * width, LAYERS, false, &x->e);
}

/* The prefix is of the blocks, each its own. */
static bool is_of_blocks(const prefix_options *o)
{
    return o->compensate || o->learned;
}

static prefix_blocks of_blocks(const prefix_options *o)
{
    return (prefix_blocks){.tokens = o->tokens, .size = o->deviation, .uniform = strcmp(o->init, "uniform") == 0,
                           .learned = o->learned, .compensate = o->compensate};
}

static status check_options(const prefix_options *o)
{
    if (o->projection && is_of_blocks(o))
        return fail(STATUS_USAGE, "prefix: projection goes neither with compensate nor with learned");
    if (!is_of_blocks(o) && strcmp(o->init, "normal") != 0)
        return fail(STATUS_USAGE, "prefix: init %s is for compensate and learned", o->init);
    return STATUS_OK;
}

static status prefix_open(const peft_attach *at, const void *options, const site *const *sites, int n, void **shared)
{
    const prefix_options *o = options;
    const tuned_start     start = {.how = INIT_NORMAL, .size = o->deviation};
    prefix_all           *x;

    TRY(check_options(o));
    if (is_of_blocks(o))
        return STATUS_OK;
    if (n != at->p->m->layers)
        return fail(STATUS_USAGE, "prefix: it is asked for in %d blocks, must be in all %lld", n,
                    (long long)at->p->m->layers);
    TRY_TAKE(x, at->p->a, 1);
    *x = (prefix_all){.p = at->p, .from_to = {0, (int32_t)o->tokens}};
    x->offsets = (tensor){.s = shape_1(2), .type = TYPE_I32, .v = x->from_to};
    *shared = x;
    if (o->projection)
        return open_projection(at, o, sites[0]->out, n, x);
    return peft_tuned_alone(at, "prompt_embeddings", shape_2(o->tokens, 2 * n * sites[0]->out), start, &x->rows);
}

static status prefix_attach(const peft_attach *at, const void *options, void **state)
{
    const prefix_options *o = options;
    const prefix_blocks   own = of_blocks(o);

    if (is_of_blocks(o))
        return prefix_blocks_attach(at, &own, state);
    at->hook->front = (int32_t)o->tokens;
    *state = at->shared;
    return STATUS_OK;
}

static void prefix_kv(tape *t, const site *s, void *state, var **k, var **v, var **offsets)
{
    const prefix_all *x = state;
    var              *all = x->e ? x->now : peft_value(t, x->p, x->rows);

    *k = ag_columns(t, all, 2 * s->block * s->out, s->out);
    *v = ag_columns(t, all, (2 * s->block + 1) * s->out, s->out);
    *offsets = tape_input(t, &x->offsets);
}

static int64_t prefix_count(const site *s, const void *options)
{
    const prefix_options *o = options;
    const prefix_blocks   own = of_blocks(o);

    if (is_of_blocks(o))
        return prefix_blocks_count(&own, s);
    return o->projection ? 0 : 2 * s->out * o->tokens;
}

static int64_t prefix_count_beside(const peft *p, int module, const void *options)
{
    const prefix_options *o = options;
    const int64_t         width = p->m->kv_width;

    (void)module;
    return o->projection ? maker_count(o->tokens, width, o->hidden, 2 * p->m->layers * width, LAYERS) : 0;
}

static var *prefix_result(tape *t, void *state)
{
    const prefix_all *x = state;

    return x->e ? maker_rows(t, x->e) : NULL;
}

static void prefix_with_encoder(void *options)
{
    ((prefix_options *)options)->projection = true;
}

static status prefix_write_config(const void *options, cJSON *config)
{
    const prefix_options *o = options;

    cJSON_AddStringToObject(config, "peft_type", "PREFIX_TUNING");
    cJSON_AddNumberToObject(config, "num_virtual_tokens", (double)o->tokens);
    cJSON_AddBoolToObject(config, "prefix_projection", o->projection);
    cJSON_AddNumberToObject(config, "encoder_hidden_size", (double)o->hidden);
    if (o->compensate)
        cJSON_AddBoolToObject(config, "compensate", true);
    if (o->learned)
        cJSON_AddBoolToObject(config, "learned_scale", true);
    return STATUS_OK;
}

/* prefix_projection changes only how the numbers came about: without the network's own file they are trained. */
static status prefix_read_config(const cJSON *config, arena *a, void *options, const char *what)
{
    prefix_options *o = options;

    (void)a;
    *o = (prefix_options){.deviation = 1, .hidden = 128, .init = "normal"};
    TRY(json_bool(config, "compensate", false, &o->compensate, what));
    TRY(json_bool(config, "learned_scale", false, &o->learned, what));
    TRY(json_int(config, "encoder_hidden_size", false, 1, 65536, &o->hidden, what));
    return json_int(config, "num_virtual_tokens", true, 1, 65536, &o->tokens, what);
}

static uint32_t prefix_traits(const void *options)
{
    return is_of_blocks(options) ? 0 : PEFT_FILE;
}

const peft_method peft_prefix = {
    .name = "prefix",
    .sites = SITE_KV,
    .traits = PEFT_FILE,
    .traits_with = prefix_traits,
    .everywhere = true,
    .keys = &prefix_table,
    .help = "Trained keys and values in front of every sequence, in every block (Li and Liang 2021).",
    .peft_type = "PREFIX_TUNING",
    .open = prefix_open,
    .attach = prefix_attach,
    .kv = prefix_kv,
    .result = prefix_result,
    .with_encoder = prefix_with_encoder,
    .count = prefix_count,
    .count_beside = prefix_count_beside,
    .write_config = prefix_write_config,
    .read_config = prefix_read_config,
};
