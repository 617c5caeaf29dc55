/* t5: an encoder, and a decoder that also reads what the encoder gives (Raffel et al. 2020, v1.1: Shazeer 2020).
 * Positions are told by one bias table a stack, of buckets of distances. Files have no biases and no scale of
 * scores. */
#include "core/json.h"
#include "layers/model.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct t5_attention {
    site *q, *k, *v, *o, *norm;
} t5_attention;

typedef struct t5_block {
    t5_attention self, cross; /* cross: of the decoder */
    site        *gate, *up, *down, *norm; /* gate: NULL without one */
} t5_block;

typedef struct t5_stack {
    const char   *name; /* "encoder" */
    bool          decodes;
    int64_t       layers;
    t5_block     *blocks;
    site         *norm;
    model_weight *bias; /* [buckets * heads] */
} t5_stack;

typedef struct t5 {
    int64_t     hidden, inner, heads, head_size, words, buckets, reach;
    double      eps;
    bool        gated;
    activation *act;
    double      out_scale; /* of the rows that the head reads; 0: none */
    bool        tied;
    site       *words_site;
    t5_stack    encoder, decoder;
} t5;

enum { SITES_PER_ENCODER_BLOCK = 9, SITES_PER_DECODER_BLOCK = 14, OTHER_SITES = 4 /* table, norms, head */ };

static const head_layout heads[] = {{.kind = HEAD_SEQ2SEQ, .out = "lm_head", .bias = ""}, {.kind = HEAD_NONE}};

/* ---- config -------------------------------------------------------------------------------------------- */

/* "relu", "gated-gelu": the latter's gelu is the one with tanh. */
static status read_activation(const cJSON *config, const char *what, t5 *x)
{
    const char *act = "relu";

    TRY(json_string(config, "feed_forward_proj", false, &act, what));
    x->gated = strncmp(act, "gated-", 6) == 0;
    if (x->gated)
        act = strcmp(act + 6, "gelu") == 0 ? "gelu_new" : act + 6;
    return activation_find(act, what, &x->act);
}

/* Once a tied output was a scaled one. Newer files say the scale, and call all outputs tied: one that is not has a
 * tensor of its own. */
static status read_output(const model *m, const cJSON *config, const char *what, t5 *x)
{
    const bool newer = cJSON_HasObjectItem(config, "scale_decoder_outputs");
    bool       scaled;

    x->tied = true;
    TRY(json_bool(config, "tie_word_embeddings", false, &x->tied, what));
    scaled = x->tied;
    TRY(json_bool(config, "scale_decoder_outputs", false, &scaled, what));
    if (newer && weights_find(m->source, "lm_head.weight"))
        x->tied = false;
    x->out_scale = scaled ? 1 / sqrt((double)x->hidden) : 0;
    return STATUS_OK;
}

/* The decoder's tokens are the targets behind a first one. */
static status read_tokens(model *m, const cJSON *config, const char *what)
{
    int64_t pad = 0, begin;

    TRY(json_int(config, "pad_token_id", false, 0, INT32_MAX, &pad, what));
    begin = pad;
    TRY(json_int(config, "decoder_start_token_id", false, 0, INT32_MAX, &begin, what));
    m->pad = (int32_t)pad;
    m->begin = (int32_t)begin;
    return STATUS_OK;
}

static status read_config(model *m, t5 *x)
{
    const cJSON  *config = m->source->config;
    const char   *what = "config.json";
    const int64_t most = INT32_MAX;

    *x = (t5){.heads = 8, .head_size = 64, .inner = 2048, .buckets = 32, .reach = 128, .eps = 1e-6,
              .encoder = {.name = "encoder", .layers = 6}, .decoder = {.name = "decoder", .decodes = true}};
    TRY(json_int(config, "d_model", true, 1, most, &x->hidden, what));
    TRY(json_int(config, "d_ff", false, 1, most, &x->inner, what));
    TRY(json_int(config, "d_kv", false, 1, 4096, &x->head_size, what));
    TRY(json_int(config, "num_heads", false, 1, 65536, &x->heads, what));
    TRY(json_int(config, "num_layers", false, 1, 4096, &x->encoder.layers, what));
    x->decoder.layers = x->encoder.layers;
    TRY(json_int(config, "num_decoder_layers", false, 1, 4096, &x->decoder.layers, what));
    TRY(json_int(config, "vocab_size", true, 1, most, &x->words, what));
    TRY(json_int(config, "relative_attention_num_buckets", false, 4, 256, &x->buckets, what));
    TRY(json_int(config, "relative_attention_max_distance", false, 2, most, &x->reach, what));
    TRY(json_double(config, "layer_norm_epsilon", false, &x->eps, what));
    if (x->buckets > 128 || x->reach <= x->buckets / 2)
        return fail(STATUS_UNSUPPORTED, "%s: relative_attention_num_buckets is %lld and "
                    "relative_attention_max_distance %lld; must be 4..128, and more than half of it", what,
                    (long long)x->buckets, (long long)x->reach);
    TRY(read_activation(config, what, x));
    TRY(read_tokens(m, config, what));
    return read_output(m, config, what, x);
}

/* ---- opening ------------------------------------------------------------------------------------------- */

/* A site of block l; checkpoint: behind "<stack>.block.N.layer.<layer>." */
static status open_site(arena *a, model *m, const t5_stack *k, int l, int layer, const char *name,
                        const char *checkpoint, int64_t in, int64_t out, site **at)
{
    char own[96], theirs[160];

    *at = model_next_site(m);
    snprintf(own, sizeof own, "%s.block.%d.%s", k->name, l, name);
    snprintf(theirs, sizeof theirs, "%s.block.%d.layer.%d.%s", k->name, l, layer, checkpoint);
    return in > 0 ? model_site(a, m, *at, SITE_LINEAR, own, theirs, l, in, out, false)
                  : model_norm(a, m, *at, own, theirs, l, out, false);
}

static status open_attention(arena *a, model *m, const t5 *x, const t5_stack *k, int l, int layer, bool cross,
                             t5_attention *t)
{
    const int64_t C = x->hidden, K = x->heads * x->head_size;
    const struct {
        site      **at;
        const char *part;
        int64_t     in, out;
    } sites[] = {{&t->q, "q", C, K}, {&t->k, "k", C, K}, {&t->v, "v", C, K}, {&t->o, "o", K, C}};
    char name[32], checkpoint[64];

    for (size_t i = 0; i < COUNT_OF(sites); i++) {
        snprintf(name, sizeof name, "%s.%s", cross ? "cross" : "attn", sites[i].part);
        snprintf(checkpoint, sizeof checkpoint, "%sAttention.%s", cross ? "EncDec" : "Self", sites[i].part);
        TRY(open_site(a, m, k, l, layer, name, checkpoint, sites[i].in, sites[i].out, sites[i].at));
    }
    return open_site(a, m, k, l, layer, cross ? "cross_norm" : "attn_norm", "layer_norm", 0, C, &t->norm);
}

static status open_block(arena *a, model *m, const t5 *x, const t5_stack *k, int l, t5_block *b)
{
    const int64_t C = x->hidden, F = x->inner;
    const int     mlp = k->decodes ? 2 : 1;

    TRY(open_attention(a, m, x, k, l, 0, false, &b->self));
    if (k->decodes)
        TRY(open_attention(a, m, x, k, l, 1, true, &b->cross));
    b->gate = NULL;
    if (x->gated)
        TRY(open_site(a, m, k, l, mlp, "mlp.gate", "DenseReluDense.wi_0", C, F, &b->gate));
    TRY(open_site(a, m, k, l, mlp, "mlp.up", x->gated ? "DenseReluDense.wi_1" : "DenseReluDense.wi", C, F,
                  &b->up));
    TRY(open_site(a, m, k, l, mlp, "mlp.down", "DenseReluDense.wo", F, C, &b->down));
    return open_site(a, m, k, l, mlp, "mlp_norm", "layer_norm", 0, C, &b->norm);
}

static status open_stack(arena *a, model *m, const t5 *x, t5_stack *k)
{
    char name[96], checkpoint[96];

    TRY_TAKE(k->blocks, a, k->layers);
    for (int l = 0; l < (int)k->layers; l++)
        TRY(open_block(a, m, x, k, l, &k->blocks[l]));
    snprintf(name, sizeof name, "%s.block.0.layer.0.SelfAttention.relative_attention_bias.weight", k->name);
    TRY(model_tensor_as(a, m, name, shape_2(x->buckets, x->heads), shape_1(x->buckets * x->heads), true,
                        &k->bias));
    k->norm = model_next_site(m);
    snprintf(name, sizeof name, "%s.norm", k->name);
    snprintf(checkpoint, sizeof checkpoint, "%s.final_layer_norm", k->name);
    return model_norm(a, m, k->norm, name, checkpoint, -1, x->hidden, false);
}

static void fill_model(model *m, t5 *x)
{
    m->state = x;
    m->layers = x->decoder.layers;
    m->source_layers = x->encoder.layers;
    m->has_source = true;
    m->width = x->hidden;
    m->words = x->words;
    m->positions = INT32_MAX;
    m->heads = m->kv_heads = x->heads;
    m->head_size = x->head_size;
    m->kv_width = x->heads * x->head_size;
}

static status t5_open(arena *a, model *m)
{
    const head_layout *head;
    t5                *x;
    bool               bare;

    TRY_TAKE(x, a, 1);
    TRY(head_choose(m->source->config, &m->wish, heads, COUNT_OF(heads), "config.json", &head, &bare));
    TRY(read_config(m, x));
    TRY_TAKE(m->sites, a, x->encoder.layers * SITES_PER_ENCODER_BLOCK +
                              x->decoder.layers * SITES_PER_DECODER_BLOCK + OTHER_SITES);
    fill_model(m, x);
    x->words_site = model_next_site(m);
    TRY(model_embedding(a, m, x->words_site, "embedding", "shared", x->words, x->hidden));
    TRY(open_stack(a, m, x, &x->encoder));
    TRY(open_stack(a, m, x, &x->decoder));
    TRY(model_open_head(a, m, head, x->tied && head->out ? x->words_site->weight : NULL, NULL, 0));
    m->head.scale = x->out_scale;
    return STATUS_OK;
}

/* ---- recording ------------------------------------------------------------------------------------------ */

static var *product(tape *t, const char *part, const char *name, const site *s, var *x)
{
    tape_enter(t, "%s.%s", part, name);
    var *y = site_linear(t, s, x);
    tape_leave(t);
    return y;
}

static var *norm(tape *t, const t5 *x, const site *s, var *h)
{
    return ag_rmsnorm(t, h, weight_var(t, s->weight), x->eps);
}

static row_names rows_of(const stream *s)
{
    return (row_names){s->samples, s->positions, 0, s->tasks, s->q_offsets};
}

typedef struct t5_keys {
    var *k, *v;
} t5_keys;

/* Keys and values that rows `seen` of stream `of` give; with a cache's tables also those that lie there already, and
 * seen NULL: only those. */
static t5_keys keys_of(model *m, tape *t, const t5_attention *b, const char *part, const stream *of, var *seen,
                       tensor *k, tensor *v)
{
    t5_keys x = {0};

    if (seen) {
        m->rows = rows_of(of);
        x.k = product(t, part, "k", b->k, seen);
        x.v = product(t, part, "v", b->v, seen);
    }
    if (k) {
        x.k = seen ? ag_scatter_rows(t, tape_tensor(t, k), x.k, of->slots) : tape_tensor(t, k);
        x.v = seen ? ag_scatter_rows(t, tape_tensor(t, v), x.v, of->slots) : tape_tensor(t, v);
    }
    return x;
}

/* Of layer l's queries of stream s over themselves. */
static var *self_attention(model *m, tape *t, const t5_stack *k, int l, const stream *s, var *h, var *bias)
{
    const t5               *x = m->state;
    const t5_attention     *b = &k->blocks[l].self;
    const kv_cache         *cache = k->decodes ? s->cache : NULL;
    const attention_options o = {.heads = (int32_t)x->heads, .kv_heads = (int32_t)x->heads, .scale = 1,
                                 .causal = k->decodes, .bias = bias, .reach = (int32_t)x->reach,
                                 .both = !k->decodes};
    var          *q = product(t, "attn", "q", b->q, h);
    const t5_keys y = keys_of(m, t, b, "attn", s, h, cache ? &cache->k[l] : NULL, cache ? &cache->v[l] : NULL);

    tape_enter(t, "attn");
    h = ag_attention(t, q, y.k, y.v, s->q_offsets, cache ? s->k_offsets : s->q_offsets, cache ? s->q_start : NULL,
                     cache ? s->blocks : NULL, &o, NULL);
    tape_leave(t);
    return product(t, "attn", "o", b->o, h);
}

/* Of layer l's queries of stream s over what the encoder gave; memory NULL: over what the cache has of that. */
static var *cross_attention(model *m, tape *t, const t5_attention *b, int l, const stream *s, var *h, var *memory)
{
    const t5               *x = m->state;
    const stream           *of = s->source;
    const kv_cache         *cache = s->cache;
    const attention_options o = {.heads = (int32_t)x->heads, .kv_heads = (int32_t)x->heads, .scale = 1};
    var          *q = product(t, "cross", "q", b->q, h);
    const t5_keys y = keys_of(m, t, b, "cross", of, memory, cache ? &cache->source_k[l] : NULL,
                              cache ? &cache->source_v[l] : NULL);

    m->rows = rows_of(s);
    tape_enter(t, "cross");
    h = ag_attention(t, q, y.k, y.v, s->q_offsets, cache ? of->k_offsets : of->q_offsets, NULL,
                     cache ? of->blocks : NULL, &o, NULL);
    tape_leave(t);
    return product(t, "cross", "o", b->o, h);
}

static var *mlp(tape *t, const t5 *x, const t5_block *b, var *h)
{
    var *y;

    if (b->gate)
        y = ag_mul(t, x->act(t, product(t, "mlp", "gate", b->gate, h)), product(t, "mlp", "up", b->up, h));
    else
        y = x->act(t, product(t, "mlp", "up", b->up, h));
    return product(t, "mlp", "down", b->down, y);
}

/* memory: what the encoder gives, for the decoder; NULL when its cache has that */
static var *stack(model *m, tape *t, const t5_stack *k, stream *s, var *memory)
{
    const t5 *x = m->state;

    m->rows = rows_of(s);
    tape_enter(t, "%s.embed", k->name);
    var *h = site_embed(t, x->words_site, s->ids), *bias = weight_var(t, k->bias);
    tape_leave(t);
    for (int l = 0; l < (int)k->layers; l++) {
        const t5_block *b = &k->blocks[l];

        if (s->hidden)
            s->hidden[l] = h;
        tape_enter(t, "%s.block.%d", k->name, l);
        tape_block_begin(t);
        var *y = norm(t, x, b->self.norm, h);
        h = ag_add(t, h, self_attention(m, t, k, l, s, y, bias));
        if (k->decodes)
            h = ag_add(t, h, cross_attention(m, t, &b->cross, l, s, norm(t, x, b->cross.norm, h), memory));
        h = ag_add(t, h, mlp(t, x, b, norm(t, x, b->norm, h)));
        tape_block_end(t);
        tape_leave(t);
    }
    tape_enter(t, "%s.norm", k->name);
    var *y = norm(t, x, k->norm, h);
    tape_leave(t);
    if (s->hidden) {
        s->hidden[k->layers] = h;
        s->hidden[k->layers + 1] = y;
    }
    return y;
}

static var *t5_hidden(model *m, tape *t, stream *s)
{
    const t5 *x = m->state;
    var      *memory = s->source->ids ? stack(m, t, &x->encoder, s->source, NULL) : NULL;

    return stack(m, t, &x->decoder, s, memory);
}

const model_family model_t5 = {.name = "t5", .open = t5_open, .hidden = t5_hidden};
