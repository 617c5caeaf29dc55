/* llama: Llama 1 to 3 and what is built like them (Touvron et al. 2023): RMSNorm before attention and
 * mlp, rotary positions, grouped key and value heads, SwiGLU. */
#include "core/json.h"
#include "layers/model.h"
#include "layers/rope.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct llama_block {
    model_weight *attn_norm, *mlp_norm;
    site         *q, *k, *v, *o, *gate, *up, *down;
} llama_block;

typedef struct llama {
    model_weight *embedding, *norm;
    llama_block  *blocks;
    tensor        frequencies;
    double        eps;
} llama;

enum { SITES_PER_BLOCK = 7 };

typedef struct llama_config {
    int64_t hidden, inner, layers, heads, kv_heads, head_size, words, positions;
    double  eps;
    bool    tied, attention_bias, mlp_bias;
} llama_config;

static status read_config(const cJSON *c, const char *what, llama_config *o)
{
    const char *act = "silu";
    const int64_t most = INT32_MAX;

    *o = (llama_config){.eps = 1e-6, .positions = 2048};
    TRY(json_int(c, "hidden_size", true, 1, most, &o->hidden, what));
    TRY(json_int(c, "intermediate_size", true, 1, most, &o->inner, what));
    TRY(json_int(c, "num_hidden_layers", true, 1, 4096, &o->layers, what));
    TRY(json_int(c, "num_attention_heads", true, 1, 65536, &o->heads, what));
    o->kv_heads = o->heads;
    TRY(json_int(c, "num_key_value_heads", false, 1, 65536, &o->kv_heads, what));
    o->head_size = o->hidden / o->heads;
    TRY(json_int(c, "head_dim", false, 2, 4096, &o->head_size, what));
    TRY(json_int(c, "vocab_size", true, 1, most, &o->words, what));
    TRY(json_int(c, "max_position_embeddings", false, 1, most, &o->positions, what));
    TRY(json_double(c, "rms_norm_eps", false, &o->eps, what));
    TRY(json_bool(c, "tie_word_embeddings", false, &o->tied, what));
    TRY(json_bool(c, "attention_bias", false, &o->attention_bias, what));
    TRY(json_bool(c, "mlp_bias", false, &o->mlp_bias, what));
    TRY(json_string(c, "hidden_act", false, &act, what));
    if (strcmp(act, "silu") != 0 && strcmp(act, "swish") != 0)
        return fail(STATUS_UNSUPPORTED, "%s: hidden_act is '%s', must be silu", what, act);
    if (o->heads % o->kv_heads != 0)
        return fail(STATUS_FORMAT,
                    "%s: num_attention_heads is %lld, must be a multiple of num_key_value_heads %lld",
                    what, (long long)o->heads, (long long)o->kv_heads);
    if (o->head_size % 2 != 0)
        return fail(STATUS_FORMAT, "%s: head size is %lld, must be even", what,
                    (long long)o->head_size);
    return STATUS_OK;
}

static status open_block(arena *a, model *m, const llama_config *c, int l, llama_block *b, site *s)
{
    const int64_t q = c->heads * c->head_size, kv = c->kv_heads * c->head_size;
    const struct {
        site      **at;
        const char *name, *checkpoint;
        int64_t     in, out;
        bool        bias;
    } sites[SITES_PER_BLOCK] = {
        {&b->q, "attn.q", "self_attn.q_proj", c->hidden, q, c->attention_bias},
        {&b->k, "attn.k", "self_attn.k_proj", c->hidden, kv, c->attention_bias},
        {&b->v, "attn.v", "self_attn.v_proj", c->hidden, kv, c->attention_bias},
        {&b->o, "attn.o", "self_attn.o_proj", q, c->hidden, c->attention_bias},
        {&b->gate, "mlp.gate", "mlp.gate_proj", c->hidden, c->inner, c->mlp_bias},
        {&b->up, "mlp.up", "mlp.up_proj", c->hidden, c->inner, c->mlp_bias},
        {&b->down, "mlp.down", "mlp.down_proj", c->inner, c->hidden, c->mlp_bias},
    };
    char name[64], checkpoint[128];

    for (int i = 0; i < SITES_PER_BLOCK; i++) {
        snprintf(name, sizeof name, "block.%d.%s", l, sites[i].name);
        snprintf(checkpoint, sizeof checkpoint, "model.layers.%d.%s", l, sites[i].checkpoint);
        *sites[i].at = &s[i];
        TRY(model_site(a, m, &s[i], SITE_LINEAR, name, checkpoint, l, sites[i].in, sites[i].out,
                       sites[i].bias));
    }
    snprintf(name, sizeof name, "model.layers.%d.input_layernorm.weight", l);
    TRY(model_tensor(a, m, name, shape_1(c->hidden), true, true, &b->attn_norm));
    snprintf(name, sizeof name, "model.layers.%d.post_attention_layernorm.weight", l);
    return model_tensor(a, m, name, shape_1(c->hidden), true, true, &b->mlp_norm);
}

static const head_layout words = {.kind = HEAD_CAUSAL, .out = "lm_head", .bias = ""};

static status llama_open(arena *a, model *m)
{
    llama_config c;
    llama       *l;

    TRY(read_config(m->source->config, "config.json", &c));
    TRY_TAKE(l, a, 1);
    TRY_TAKE(l->blocks, a, c.layers);
    TRY_TAKE(m->sites, a, c.layers * SITES_PER_BLOCK + 1);
    l->eps = c.eps;
    m->state = l;
    m->layers = c.layers;
    m->width = c.hidden;
    m->words = c.words;
    m->positions = c.positions;
    m->heads = c.heads;
    m->kv_heads = c.kv_heads;
    m->head_size = c.head_size;
    m->kv_width = c.kv_heads * c.head_size;
    TRY(model_tensor(a, m, "model.embed_tokens.weight", shape_2(c.words, c.hidden), false, true,
                     &l->embedding));
    for (int i = 0; i < (int)c.layers; i++)
        TRY(open_block(a, m, &c, i, &l->blocks[i], &m->sites[i * SITES_PER_BLOCK]));
    m->n_sites = (int)c.layers * SITES_PER_BLOCK;
    TRY(model_tensor(a, m, "model.norm.weight", shape_1(c.hidden), true, true, &l->norm));
    TRY(model_open_head(a, m, &words, c.words, c.tied ? l->embedding : NULL, NULL, 0));

    model_weight *divisors = NULL;
    TRY(model_tensor(a, m, "rope_freqs.weight", shape_1(c.head_size / 2), false, false, &divisors));
    if (divisors && divisors->value.type != TYPE_F32)
        return fail(STATUS_FORMAT, "tensor rope_freqs.weight is of type %s, must be f32",
                    dtype_name(divisors->value.type));
    return rope_frequencies(a, m->source->config, "config.json", c.head_size,
                            divisors ? divisors->value.v : NULL, &l->frequencies);
}

static var *attention(const model *m, tape *t, const llama_block *b, int layer, stream *s, var *x,
                      var *rope)
{
    const attention_options o = {.heads = (int32_t)m->heads, .kv_heads = (int32_t)m->kv_heads,
                                 .causal = true, .scale = 1 / sqrt((double)m->head_size)};
    var *q, *k, *v;

    tape_enter(t, "attn.q");
    q = ag_rope(t, site_linear(t, b->q, x), rope);
    tape_leave(t);
    tape_enter(t, "attn.k");
    k = ag_rope(t, site_linear(t, b->k, x), rope);
    tape_leave(t);
    tape_enter(t, "attn.v");
    v = site_linear(t, b->v, x);
    tape_leave(t);
    if (s->cache) {
        k = ag_scatter_rows(t, tape_tensor(t, &s->cache->k[layer]), k, s->slots);
        v = ag_scatter_rows(t, tape_tensor(t, &s->cache->v[layer]), v, s->slots);
    }
    tape_enter(t, "attn");
    var *y = ag_attention(t, q, k, v, s->q_offsets, s->cache ? s->k_offsets : s->q_offsets,
                          s->q_start, s->blocks, &o, NULL);
    tape_leave(t);
    tape_enter(t, "attn.o");
    y = site_linear(t, b->o, y);
    tape_leave(t);
    return y;
}

static var *mlp(tape *t, const llama_block *b, var *x)
{
    var *gate, *up, *y;

    tape_enter(t, "mlp.gate");
    gate = site_linear(t, b->gate, x);
    tape_leave(t);
    tape_enter(t, "mlp.up");
    up = site_linear(t, b->up, x);
    tape_leave(t);
    tape_enter(t, "mlp.down");
    y = site_linear(t, b->down, ag_swiglu(t, gate, up));
    tape_leave(t);
    return y;
}

static var *llama_hidden(const model *m, tape *t, stream *s)
{
    const llama *l = m->state;
    var         *rope = ag_rope_table(t, s->positions, tape_tensor(t, &l->frequencies));

    tape_enter(t, "embed");
    var *x = ag_embed(t, weight_var(t, l->embedding), s->ids);
    tape_leave(t);
    for (int i = 0; i < (int)m->layers; i++) {
        const llama_block *b = &l->blocks[i];

        if (s->hidden)
            s->hidden[i] = x;
        tape_enter(t, "block.%d", i);
        tape_block_begin(t);
        var *y = attention(m, t, b, i, s, ag_rmsnorm(t, x, weight_var(t, b->attn_norm), l->eps), rope);
        x = ag_add(t, x, y);
        x = ag_add(t, x, mlp(t, b, ag_rmsnorm(t, x, weight_var(t, b->mlp_norm), l->eps)));
        tape_block_end(t);
        tape_leave(t);
    }
    tape_enter(t, "norm");
    var *y = ag_rmsnorm(t, x, weight_var(t, l->norm), l->eps);
    tape_leave(t);
    if (s->hidden) {
        s->hidden[m->layers] = x;
        s->hidden[m->layers + 1] = y;
    }
    return y;
}

const model_family model_llama = {.name = "llama", .open = llama_open, .hidden = llama_hidden};
