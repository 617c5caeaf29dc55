/* encoder: see the header */
#include "layers/encoder.h"

#include "core/json.h"
#include "layers/attention.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct encoder_block {
    site *q, *k, *v, *o, *up, *down, *attn_norm, *mlp_norm;
    block_places places;
} encoder_block;

typedef struct encoder {
    site          *words, *places, *types, *norm;
    encoder_block *blocks;
    activation    *act;
    double         eps;
} encoder;

enum { LINEAR_PER_BLOCK = 6, NORMS_PER_BLOCK = 2, OTHER_SITES = 6 /* tables, norm, head */ };

const encoder_names encoder_bert_names = {
    .block = "encoder.layer.",
    .q = "attention.self.query",
    .k = "attention.self.key",
    .v = "attention.self.value",
    .o = "attention.output.dense",
    .attn_norm = "attention.output.LayerNorm",
    .up = "intermediate.dense",
    .down = "output.dense",
    .mlp_norm = "output.LayerNorm",
    .attn = "attention",
    .mlp = "output",
};

/* ---- opening ------------------------------------------------------------------------------------------- */

static const char *prefix_of(const encoder_config *c)
{
    return c->bare ? "" : c->prefix;
}

static status open_block(arena *a, model *m, const encoder_config *c, const encoder_names *n, int l,
                         encoder_block *b)
{
    const int64_t C = c->hidden;
    const struct {
        site      **at;
        const char *name, *checkpoint;
        int64_t     in, out;
    } sites[LINEAR_PER_BLOCK] = {{&b->q, "attn.q", n->q, C, C},
                                {&b->k, "attn.k", n->k, C, C},
                                {&b->v, "attn.v", n->v, C, C},
                                {&b->o, "attn.o", n->o, C, C},
                                {&b->up, "mlp.up", n->up, C, c->inner},
                                {&b->down, "mlp.down", n->down, c->inner, C}};
    char name[64], checkpoint[256];

    for (int i = 0; i < LINEAR_PER_BLOCK; i++) {
        snprintf(name, sizeof name, "block.%d.%s", l, sites[i].name);
        snprintf(checkpoint, sizeof checkpoint, "%s%s%d.%s", prefix_of(c), n->block, l, sites[i].checkpoint);
        *sites[i].at = model_next_site(m);
        TRY(model_site(a, m, *sites[i].at, SITE_LINEAR, name, checkpoint, l, sites[i].in, sites[i].out,
                       true));
    }
    snprintf(name, sizeof name, "block.%d.attn_norm", l);
    snprintf(checkpoint, sizeof checkpoint, "%s%s%d.%s", prefix_of(c), n->block, l, n->attn_norm);
    TRY(model_layernorm(a, m, name, checkpoint, l, &b->attn_norm));
    snprintf(name, sizeof name, "block.%d.mlp_norm", l);
    snprintf(checkpoint, sizeof checkpoint, "%s%s%d.%s", prefix_of(c), n->block, l, n->mlp_norm);
    return model_layernorm(a, m, name, checkpoint, l, &b->mlp_norm);
}

static status open_places(arena *a, model *m, const encoder_config *c, const encoder_names *n, int l, encoder_block *b)
{
    char attn[256], mlp[256];

    snprintf(attn, sizeof attn, "%s%s%d.%s", prefix_of(c), n->block, l, n->attn);
    snprintf(mlp, sizeof mlp, "%s%s%d.%s", prefix_of(c), n->block, l, n->mlp);
    return model_places(a, m, l, attn, mlp, &b->places);
}

static status open_table(arena *a, model *m, const encoder_config *c, const char *name, const char *table,
                         int64_t rows, site **out)
{
    char checkpoint[256];

    *out = model_next_site(m);
    snprintf(checkpoint, sizeof checkpoint, "%sembeddings.%s", prefix_of(c), table);
    return model_embedding(a, m, *out, name, checkpoint, rows, c->hidden);
}

static void fill_model(model *m, const encoder_config *c, encoder *e)
{
    m->state = e;
    m->prefix = c->prefix;
    m->layers = c->layers;
    m->width = m->kv_width = c->hidden;
    m->words = c->words;
    m->heads = m->kv_heads = c->heads;
    m->head_size = c->hidden / c->heads;
    m->positions = c->places - m->first_position;
    m->position_table = true;
    m->types = c->types;
    m->sees_all = true;
    e->act = c->act;
    e->eps = c->eps;
}

status encoder_open(arena *a, model *m, const encoder_config *c, const encoder_names *names)
{
    encoder *e;
    char     name[256];

    if (c->hidden % c->heads != 0)
        return fail(STATUS_FORMAT, "config.json: the width %lld must be a multiple of the %lld heads",
                    (long long)c->hidden, (long long)c->heads);
    if (c->places <= m->first_position)
        return fail(STATUS_FORMAT, "config.json: %lld positions leave none for tokens, which begin at %d",
                    (long long)c->places, m->first_position);
    TRY_TAKE(e, a, 1);
    *e = (encoder){0};
    TRY_TAKE(e->blocks, a, c->layers);
    TRY_TAKE(m->sites, a, c->layers * (LINEAR_PER_BLOCK + NORMS_PER_BLOCK + PLACES_PER_BLOCK) + OTHER_SITES);
    fill_model(m, c, e);
    TRY(open_table(a, m, c, "embedding", "word_embeddings", c->words, &e->words));
    TRY(open_table(a, m, c, "embedding.position", "position_embeddings", c->places, &e->places));
    if (c->types > 0)
        TRY(open_table(a, m, c, "embedding.type", "token_type_embeddings", c->types, &e->types));
    snprintf(name, sizeof name, "%sembeddings.LayerNorm", prefix_of(c));
    TRY(model_layernorm(a, m, "embedding.norm", name, -1, &e->norm));
    for (int l = 0; l < (int)c->layers; l++)
        TRY(open_block(a, m, c, names, l, &e->blocks[l]));
    for (int l = 0; l < (int)c->layers; l++)
        TRY(open_places(a, m, c, names, l, &e->blocks[l]));
    return STATUS_OK;
}

status encoder_read_config(const cJSON *config, const char *what, encoder_config *c, int64_t *pad)
{
    const char   *act = "gelu", *positions = "absolute";
    const int64_t most = INT32_MAX;
    bool          decodes = false;

    c->places = 512;
    c->types = 2;
    c->eps = 1e-12;
    TRY(json_int(config, "hidden_size", true, 1, most, &c->hidden, what));
    TRY(json_int(config, "intermediate_size", true, 1, most, &c->inner, what));
    TRY(json_int(config, "num_hidden_layers", true, 1, 4096, &c->layers, what));
    TRY(json_int(config, "num_attention_heads", true, 1, 65536, &c->heads, what));
    TRY(json_int(config, "vocab_size", true, 1, most, &c->words, what));
    TRY(json_int(config, "max_position_embeddings", false, 1, most, &c->places, what));
    TRY(json_int(config, "type_vocab_size", false, 1, most, &c->types, what));
    TRY(json_int(config, "pad_token_id", false, 0, most - 1, pad, what));
    TRY(json_double(config, "layer_norm_eps", false, &c->eps, what));
    TRY(json_string(config, "hidden_act", false, &act, what));
    TRY(json_string(config, "position_embedding_type", false, &positions, what));
    TRY(json_bool(config, "is_decoder", false, &decodes, what));
    if (strcmp(positions, "absolute") != 0)
        return fail(STATUS_UNSUPPORTED, "%s: position_embedding_type is '%.100s', must be absolute", what,
                    positions);
    if (decodes)
        return fail(STATUS_UNSUPPORTED, "%s: is_decoder is true; only encoders of this family are read",
                    what);
    return activation_find(act, what, &c->act);
}

status encoder_head(arena *a, model *m, const encoder_config *c, const head_layout *layout)
{
    const encoder *e = m->state;
    bool           tied = true;
    head_layout    here = *layout;
    char           pooler[256];

    TRY(json_bool(m->source->config, "tie_word_embeddings", false, &tied, "config.json"));
    if (here.kind == HEAD_NONE && here.dense) { /* a pooler that the file may lack */
        model_weight *w;
        snprintf(pooler, sizeof pooler, "%s.weight", here.dense);
        TRY(model_tensor(a, m, pooler, shape_2(c->hidden, c->hidden), false, false, &w));
        if (!w)
            here.dense = NULL;
    }
    return model_open_head(a, m, &here, tied && here.kind == HEAD_MASKED ? e->words->weight : NULL, c->act, c->eps);
}

/* ---- recording ------------------------------------------------------------------------------------------ */

static var *attention(const model *m, tape *t, const encoder_block *b, stream *s, var *x)
{
    const attention_options o = {.heads = (int32_t)m->heads, .kv_heads = (int32_t)m->heads,
                                 .scale = 1 / sqrt((double)m->head_size)};
    var *q = site_product(t, "attn.q", b->q, x), *k = site_product(t, "attn.k", b->k, x);
    var *v = site_product(t, "attn.v", b->v, x);

    tape_enter(t, "attn");
    var *y = site_attention(t, b->places.kv, s, q, k, v, &o);
    tape_leave(t);
    return site_product(t, "attn.o", b->o, y);
}

static var *embed(tape *t, const encoder *e, stream *s)
{
    tape_enter(t, "embed");
    var *x = ag_add(t, site_embed(t, e->words, s->ids), site_embed(t, e->places, s->positions));
    if (e->types)
        x = ag_add(t, x, site_embed(t, e->types, s->types));
    x = site_layernorm(t, e->norm, x, e->eps);
    tape_leave(t);
    return x;
}

var *encoder_hidden(model *m, tape *t, stream *s)
{
    const encoder *e = m->state;
    var           *x = embed(t, e, s);

    for (int i = 0; i < (int)m->layers; i++) {
        const encoder_block *b = &e->blocks[i];

        if (s->hidden)
            s->hidden[i] = x;
        tape_enter(t, "block.%d", i);
        tape_block_begin(t);
        var *y = site_block(t, b->places.after_attn, x, attention(m, t, b, s, x));
        x = site_layernorm(t, b->attn_norm, ag_add(t, x, y), e->eps);
        y = site_product(t, "mlp.down", b->down, e->act(t, site_product(t, "mlp.up", b->up, x)));
        y = site_block(t, b->places.after_mlp, x, y);
        x = site_layernorm(t, b->mlp_norm, ag_add(t, x, y), e->eps);
        tape_block_end(t);
        tape_leave(t);
    }
    if (s->hidden) {
        s->hidden[m->layers] = x;
        s->hidden[m->layers + 1] = NULL;
    }
    return x;
}
