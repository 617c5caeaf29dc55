/* gpt2: Radford et al. 2019: LayerNorm before attention and mlp, learned positions, one product for q, k
 * and v. The checkpoint has the weights of its blocks as [in, out]. */
#include "core/json.h"
#include "layers/attention.h"

#include <math.h>
#include <stdio.h>

typedef struct gpt2_block {
    site *qkv, *o, *up, *down, *attn_norm, *mlp_norm;
    block_places places;
} gpt2_block;

typedef struct gpt2 {
    site       *words, *places, *norm;
    gpt2_block *blocks;
    activation *act;
    double      eps;
    bool        scaled, scaled_by_layer; /* scores: by 1 / sqrt(D), by 1 / (block + 1) */
} gpt2;

typedef struct gpt2_config {
    int64_t     hidden, inner, layers, heads, words, positions;
    bool        tied;
    const char *prefix; /* of this architecture */
} gpt2_config;

enum { LINEAR_PER_BLOCK = 4, NORMS_PER_BLOCK = 2, OTHER_SITES = 5 /* tables, norm, head */ };

static const head_layout heads[] = {
    {.kind = HEAD_CAUSAL, .out = "lm_head", .bias = ""},
    {.kind = HEAD_NONE},
    {.kind = HEAD_TAG, .out = "classifier"},
    {.kind = HEAD_CLASSIFY, .out = "score", .bias = "", .last = true},
    {.kind = HEAD_SPAN, .out = "qa_outputs"},
};

/* ---- opening ---------------------------------------------------------------------------------------------- */

static status read_config(const cJSON *config, const char *what, gpt2_config *c, gpt2 *g)
{
    const char   *act = "gelu_new";
    const int64_t most = INT32_MAX;
    bool          crosses = false;

    *c = (gpt2_config){.positions = 1024, .tied = true};
    g->eps = 1e-5;
    g->scaled = true;
    TRY(json_int(config, "n_embd", true, 1, most / 3, &c->hidden, what));
    c->inner = 4 * c->hidden;
    TRY(json_int(config, "n_inner", false, 1, most, &c->inner, what));
    TRY(json_int(config, "n_layer", true, 1, 4096, &c->layers, what));
    TRY(json_int(config, "n_head", true, 1, 65536, &c->heads, what));
    TRY(json_int(config, "vocab_size", true, 1, most, &c->words, what));
    TRY(json_int(config, "n_positions", false, 1, most, &c->positions, what));
    TRY(json_double(config, "layer_norm_epsilon", false, &g->eps, what));
    TRY(json_bool(config, "tie_word_embeddings", false, &c->tied, what));
    TRY(json_bool(config, "scale_attn_weights", false, &g->scaled, what));
    TRY(json_bool(config, "scale_attn_by_inverse_layer_idx", false, &g->scaled_by_layer, what));
    TRY(json_bool(config, "add_cross_attention", false, &crosses, what));
    TRY(json_string(config, "activation_function", false, &act, what));
    if (c->hidden % c->heads != 0)
        return fail(STATUS_FORMAT, "%s: n_embd is %lld, must be a multiple of n_head %lld", what,
                    (long long)c->hidden, (long long)c->heads);
    if (crosses)
        return fail(STATUS_UNSUPPORTED,
                    "%s: add_cross_attention is true; a decoder of another model is not read", what);
    return activation_find(act, what, &g->act);
}

static status open_block(arena *a, model *m, const gpt2_config *c, int l, gpt2_block *b)
{
    const int64_t C = c->hidden;
    const struct {
        site      **at;
        const char *name, *checkpoint;
        int64_t     in, out;
    } sites[LINEAR_PER_BLOCK] = {{&b->qkv, "attn.qkv", "attn.c_attn", C, 3 * C},
                                {&b->o, "attn.o", "attn.c_proj", C, C},
                                {&b->up, "mlp.up", "mlp.c_fc", C, c->inner},
                                {&b->down, "mlp.down", "mlp.c_proj", c->inner, C}};
    char name[64], checkpoint[128];

    for (int i = 0; i < LINEAR_PER_BLOCK; i++) {
        snprintf(name, sizeof name, "block.%d.%s", l, sites[i].name);
        snprintf(checkpoint, sizeof checkpoint, "%sh.%d.%s", c->prefix, l, sites[i].checkpoint);
        *sites[i].at = model_next_site(m);
        TRY(model_site_turned(a, m, *sites[i].at, name, checkpoint, l, sites[i].in, sites[i].out));
    }
    snprintf(name, sizeof name, "block.%d.attn_norm", l);
    snprintf(checkpoint, sizeof checkpoint, "%sh.%d.ln_1", c->prefix, l);
    TRY(model_layernorm(a, m, name, checkpoint, l, &b->attn_norm));
    snprintf(name, sizeof name, "block.%d.mlp_norm", l);
    snprintf(checkpoint, sizeof checkpoint, "%sh.%d.ln_2", c->prefix, l);
    return model_layernorm(a, m, name, checkpoint, l, &b->mlp_norm);
}

static status open_places(arena *a, model *m, const gpt2_config *c, int l, gpt2_block *b)
{
    char attn[128], mlp[128];

    snprintf(attn, sizeof attn, "%sh.%d.attn", c->prefix, l);
    snprintf(mlp, sizeof mlp, "%sh.%d.mlp", c->prefix, l);
    return model_places(a, m, l, attn, mlp, &b->places);
}

static status open_trunk(arena *a, model *m, const gpt2_config *c, gpt2 *g)
{
    char checkpoint[64];

    g->words = model_next_site(m);
    snprintf(checkpoint, sizeof checkpoint, "%swte", c->prefix);
    TRY(model_embedding(a, m, g->words, "embedding", checkpoint, c->words, c->hidden));
    g->places = model_next_site(m);
    snprintf(checkpoint, sizeof checkpoint, "%swpe", c->prefix);
    TRY(model_embedding(a, m, g->places, "embedding.position", checkpoint, c->positions, c->hidden));
    for (int i = 0; i < (int)c->layers; i++)
        TRY(open_block(a, m, c, i, &g->blocks[i]));
    snprintf(checkpoint, sizeof checkpoint, "%sln_f", c->prefix);
    TRY(model_layernorm(a, m, "norm", checkpoint, -1, &g->norm));
    for (int i = 0; i < (int)c->layers; i++)
        TRY(open_places(a, m, c, i, &g->blocks[i]));
    return STATUS_OK;
}

static status gpt2_open(arena *a, model *m)
{
    const head_layout *head;
    gpt2_config        c;
    gpt2              *g;
    bool               bare;

    TRY_TAKE(g, a, 1);
    *g = (gpt2){0};
    TRY(read_config(m->source->config, "config.json", &c, g));
    TRY(head_choose(m->source->config, &m->wish, heads, COUNT_OF(heads), "config.json", &head, &bare));
    TRY_TAKE(g->blocks, a, c.layers);
    TRY_TAKE(m->sites, a, c.layers * (LINEAR_PER_BLOCK + NORMS_PER_BLOCK + PLACES_PER_BLOCK) + OTHER_SITES);
    m->prefix = "transformer.";
    c.prefix = bare ? "" : m->prefix;
    m->state = g;
    m->layers = c.layers;
    m->width = m->kv_width = c.hidden;
    m->words = c.words;
    m->positions = c.positions;
    m->position_table = true;
    m->heads = m->kv_heads = c.heads;
    m->head_size = c.hidden / c.heads;
    TRY(open_trunk(a, m, &c, g));
    return model_open_head(a, m, head, c.tied && head->kind == HEAD_CAUSAL ? g->words->weight : NULL, NULL, g->eps);
}

/* ---- recording -------------------------------------------------------------------------------------------- */

static var *attention(const model *m, tape *t, const gpt2_block *b, int layer, stream *s, var *x)
{
    const gpt2             *g = m->state;
    const int64_t           C = m->width;
    const double            scale = g->scaled ? 1 / sqrt((double)m->head_size) : 1;
    const attention_options o = {.heads = (int32_t)m->heads, .kv_heads = (int32_t)m->heads, .causal = true,
                                 .scale = g->scaled_by_layer ? scale / (layer + 1) : scale};
    var *qkv = site_product(t, "attn.qkv", b->qkv, x);

    tape_enter(t, "attn");
    var *q = ag_columns(t, qkv, 0, C), *k = ag_columns(t, qkv, C, C), *v = ag_columns(t, qkv, 2 * C, C);
    if (s->cache) {
        k = ag_scatter_rows(t, tape_tensor(t, &s->cache->k[layer]), k, s->slots);
        v = ag_scatter_rows(t, tape_tensor(t, &s->cache->v[layer]), v, s->slots);
    }
    var *y = site_attention(t, b->places.kv, s, q, k, v, &o);
    tape_leave(t);
    return site_product(t, "attn.o", b->o, y);
}

static var *gpt2_hidden(model *m, tape *t, stream *s)
{
    const gpt2 *g = m->state;

    tape_enter(t, "embed");
    var *x = ag_add(t, site_embed(t, g->words, s->ids), site_embed(t, g->places, s->positions));
    tape_leave(t);
    for (int i = 0; i < (int)m->layers; i++) {
        const gpt2_block *b = &g->blocks[i];

        if (s->hidden)
            s->hidden[i] = x;
        tape_enter(t, "block.%d", i);
        tape_block_begin(t);
        var *in = site_layernorm(t, b->attn_norm, x, g->eps), *y = attention(m, t, b, i, s, in);
        x = ag_add(t, x, site_block(t, b->places.after_attn, in, y));
        in = site_layernorm(t, b->mlp_norm, x, g->eps);
        y = site_product(t, "mlp.down", b->down, g->act(t, site_product(t, "mlp.up", b->up, in)));
        x = ag_add(t, x, site_block(t, b->places.after_mlp, in, y));
        tape_block_end(t);
        tape_leave(t);
    }
    tape_enter(t, "norm");
    var *y = site_layernorm(t, g->norm, x, g->eps);
    tape_leave(t);
    if (s->hidden) {
        s->hidden[m->layers] = x;
        s->hidden[m->layers + 1] = y;
    }
    return y;
}

const model_family model_gpt2 = {.name = "gpt2", .open = gpt2_open, .hidden = gpt2_hidden};
