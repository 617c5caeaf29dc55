/* decoder: see the header */
#include "layers/decoder.h"

#include "core/json.h"
#include "layers/attention.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct decoder_block {
    site *q, *k, *v, *o, *gate, *up, *down;
    site *attn_norm, *mlp_norm, *attn_post, *mlp_post; /* post: NULL without post_norms */
    site *q_norm, *k_norm;                             /* NULL without qk_norm */
    block_places places;
} decoder_block;

typedef struct decoder {
    decoder_config c;
    site          *embedding, *norm;
    decoder_block *blocks;
    const char *prefix; /* of names in this architecture: a bare trunk has none */
} decoder;

static const char *prefix_of(const model *m)
{
    return ((const decoder *)m->state)->prefix;
}

enum { LINEAR_PER_BLOCK = 7, NORMS_PER_BLOCK = 6, OTHER_SITES = 4 /* head, norm, embedding */ };

/* ---- config -------------------------------------------------------------------------------------------- */

static status check_config(const decoder_config *c, const char *what)
{
    if (c->heads % c->kv_heads != 0)
        return fail(STATUS_FORMAT,
                    "%s: num_attention_heads is %lld, must be a multiple of num_key_value_heads %lld",
                    what, (long long)c->heads, (long long)c->kv_heads);
    if (c->head_size % 2 != 0)
        return fail(STATUS_FORMAT, "%s: head size is %lld, must be even", what,
                    (long long)c->head_size);
    return STATUS_OK;
}

static status read_activation(const cJSON *config, const decoder_presets *p, const char *what, decoder_config *c)
{
    const char *act = p->act;

    TRY(json_string(config, p->act_key, false, &act, what));
    if (strcmp(act, "silu") == 0 || strcmp(act, "swish") == 0)
        return STATUS_OK;
    return activation_find(act, what, &c->act);
}

static status read_rope(arena *a, model *m, double theta, const char *what, decoder_config *c)
{
    model_weight *divisors = NULL;

    TRY(model_tensor(a, m, "rope_freqs.weight", shape_1(c->head_size / 2), false, false, &divisors));
    if (divisors && divisors->value.type != TYPE_F32)
        return fail(STATUS_FORMAT, "tensor rope_freqs.weight is of type %s, must be f32",
                    dtype_name(divisors->value.type));
    return rope_read(a, m->source->config, what, NULL, theta, c->head_size, c->positions,
                     divisors ? divisors->value.v : NULL, &c->full_rope);
}

status decoder_read_config(arena *a, model *m, const decoder_presets *p, decoder_config *c)
{
    const cJSON  *config = m->source->config;
    const char   *what = "config.json";
    const int64_t most = INT32_MAX;

    *c = (decoder_config){.eps = 1e-6, .positions = p->positions, .embed_scale = 1, .tied = p->tied};
    TRY(json_int(config, "hidden_size", true, 1, most, &c->hidden, what));
    TRY(json_int(config, "intermediate_size", true, 1, most, &c->inner, what));
    TRY(json_int(config, "num_hidden_layers", true, 1, 4096, &c->layers, what));
    TRY(json_int(config, "num_attention_heads", true, 1, 65536, &c->heads, what));
    c->kv_heads = c->heads;
    TRY(json_int(config, "num_key_value_heads", false, 1, 65536, &c->kv_heads, what));
    c->head_size = p->head_size > 0 ? p->head_size : c->hidden / c->heads;
    TRY(json_int(config, "head_dim", false, 2, 4096, &c->head_size, what));
    TRY(json_int(config, "vocab_size", true, 1, most, &c->words, what));
    TRY(json_int(config, "max_position_embeddings", false, 1, most, &c->positions, what));
    TRY(json_double(config, "rms_norm_eps", false, &c->eps, what));
    TRY(json_bool(config, "tie_word_embeddings", false, &c->tied, what));
    TRY(read_activation(config, p, what, c));
    TRY(check_config(c, what));
    c->scale = 1 / sqrt((double)c->head_size);
    return read_rope(a, m, p->theta, what, c);
}

status decoder_windows(arena *a, const cJSON *config, int64_t window, bool (*windowed)(int64_t layer, int64_t n),
                       int64_t n, decoder_config *c)
{
    const cJSON *types = cJSON_GetObjectItemCaseSensitive(config, "layer_types"), *type;
    int32_t     *windows;

    TRY_TAKE(windows, a, c->layers);
    c->windows = windows;
    for (int64_t l = 0; l < c->layers; l++)
        windows[l] = windowed(l, n) ? (int32_t)window : 0;
    if (!cJSON_IsArray(types))
        return STATUS_OK;
    if (cJSON_GetArraySize(types) != c->layers)
        return fail(STATUS_FORMAT, "config.json: layer_types has %d entries, must have one for each of %lld layers",
                    cJSON_GetArraySize(types), (long long)c->layers);
    int64_t l = 0;
    cJSON_ArrayForEach(type, types)
    {
        const bool slides = cJSON_IsString(type) && strcmp(type->valuestring, "sliding_attention") == 0;
        if (!slides && !(cJSON_IsString(type) && strcmp(type->valuestring, "full_attention") == 0))
            return fail(STATUS_UNSUPPORTED, "config.json: layer_types has '%.60s', must be sliding_attention or "
                        "full_attention", cJSON_IsString(type) ? type->valuestring : "no text");
        windows[l++] = slides ? (int32_t)window : 0;
    }
    return STATUS_OK;
}

/* ---- opening ------------------------------------------------------------------------------------------- */

static status open_linear(arena *a, model *m, const decoder_config *c, int l, decoder_block *b)
{
    const int64_t q = c->heads * c->head_size, kv = c->kv_heads * c->head_size;
    const struct {
        site      **at;
        const char *name, *checkpoint;
        int64_t     in, out;
        bool        bias;
    } sites[LINEAR_PER_BLOCK] = {
        {&b->q, "attn.q", "self_attn.q_proj", c->hidden, q, c->qkv_bias},
        {&b->k, "attn.k", "self_attn.k_proj", c->hidden, kv, c->qkv_bias},
        {&b->v, "attn.v", "self_attn.v_proj", c->hidden, kv, c->qkv_bias},
        {&b->o, "attn.o", "self_attn.o_proj", q, c->hidden, c->o_bias},
        {&b->gate, "mlp.gate", "mlp.gate_proj", c->hidden, c->inner, c->mlp_bias},
        {&b->up, "mlp.up", "mlp.up_proj", c->hidden, c->inner, c->mlp_bias},
        {&b->down, "mlp.down", "mlp.down_proj", c->inner, c->hidden, c->mlp_bias},
    };
    char name[64], checkpoint[128];

    for (int i = 0; i < LINEAR_PER_BLOCK; i++) {
        snprintf(name, sizeof name, "block.%d.%s", l, sites[i].name);
        snprintf(checkpoint, sizeof checkpoint, "%slayers.%d.%s", prefix_of(m), l, sites[i].checkpoint);
        *sites[i].at = model_next_site(m);
        TRY(model_site(a, m, *sites[i].at, SITE_LINEAR, name, checkpoint, l, sites[i].in, sites[i].out,
                       sites[i].bias));
    }
    return STATUS_OK;
}

static status open_norms(arena *a, model *m, const decoder_config *c, int l, decoder_block *b)
{
    const bool post = c->post_norms;
    const struct {
        site      **at;
        const char *name, *checkpoint;
        int64_t     width;
        bool        there;
    } norms[NORMS_PER_BLOCK] = {
        {&b->attn_norm, "attn_norm", "input_layernorm", c->hidden, true},
        {&b->attn_post, "attn_post_norm", "post_attention_layernorm", c->hidden, post},
        {&b->mlp_norm, "mlp_norm", post ? "pre_feedforward_layernorm" : "post_attention_layernorm", c->hidden, true},
        {&b->mlp_post, "mlp_post_norm", "post_feedforward_layernorm", c->hidden, post},
        {&b->q_norm, "attn.q_norm", "self_attn.q_norm", c->head_size, c->qk_norm},
        {&b->k_norm, "attn.k_norm", "self_attn.k_norm", c->head_size, c->qk_norm},
    };
    char name[64], checkpoint[128];

    for (int i = 0; i < NORMS_PER_BLOCK; i++) {
        *norms[i].at = NULL;
        if (!norms[i].there)
            continue;
        snprintf(name, sizeof name, "block.%d.%s", l, norms[i].name);
        snprintf(checkpoint, sizeof checkpoint, "%slayers.%d.%s", prefix_of(m), l, norms[i].checkpoint);
        *norms[i].at = model_next_site(m);
        TRY(model_norm(a, m, *norms[i].at, name, checkpoint, l, norms[i].width, false));
    }
    return STATUS_OK;
}

static status open_places(arena *a, model *m, int l, decoder_block *b)
{
    char attn[128], mlp[128];

    snprintf(attn, sizeof attn, "%slayers.%d.self_attn", prefix_of(m), l);
    snprintf(mlp, sizeof mlp, "%slayers.%d.mlp", prefix_of(m), l);
    return model_places(a, m, l, attn, mlp, &b->places);
}

static void fill_model(model *m, const decoder_config *c)
{
    m->layers = c->layers;
    m->width = c->hidden;
    m->words = c->words;
    m->positions = c->positions;
    m->heads = c->heads;
    m->kv_heads = c->kv_heads;
    m->head_size = c->head_size;
    m->kv_width = c->kv_heads * c->head_size;
}

static status open_sites(arena *a, model *m, decoder *d, const head_layout *head)
{
    const decoder_config *c = &d->c;
    char                  name[64];
    model_weight         *table = NULL;

    for (int i = 0; i < (int)c->layers; i++)
        TRY(open_linear(a, m, c, i, &d->blocks[i]));
    if (c->tied && head->kind == HEAD_CAUSAL) {
        snprintf(name, sizeof name, "%sembed_tokens.weight", prefix_of(m));
        TRY(model_tensor(a, m, name, shape_2(c->words, c->hidden), false, true, &table));
    }
    TRY(model_open_head(a, m, head, table, NULL, 0));
    m->head.softcap = head_has_classes(head->kind) ? 0 : c->logit_cap;
    for (int i = 0; i < (int)c->layers; i++)
        TRY(open_norms(a, m, c, i, &d->blocks[i]));
    d->norm = model_next_site(m);
    snprintf(name, sizeof name, "%snorm", prefix_of(m));
    TRY(model_norm(a, m, d->norm, "norm", name, -1, c->hidden, false));
    d->embedding = model_next_site(m);
    snprintf(name, sizeof name, "%sembed_tokens", prefix_of(m));
    TRY(model_embedding(a, m, d->embedding, "embedding", name, c->words, c->hidden));
    for (int i = 0; i < (int)c->layers; i++)
        TRY(open_places(a, m, i, &d->blocks[i]));
    return STATUS_OK;
}

static const head_layout heads[] = {
    {.kind = HEAD_CAUSAL, .out = "lm_head", .bias = ""},
    {.kind = HEAD_NONE},
    {.kind = HEAD_CLASSIFY, .out = "score", .bias = "", .last = true},
    {.kind = HEAD_TAG, .out = "score"},
};

status decoder_open(arena *a, model *m, const decoder_config *c)
{
    const head_layout *head;
    decoder           *d;
    bool               bare;

    TRY(head_choose(m->source->config, &m->wish, heads, COUNT_OF(heads), "config.json", &head, &bare));
    TRY_TAKE(d, a, 1);
    *d = (decoder){.c = *c};
    TRY_TAKE(d->blocks, a, c->layers);
    TRY_TAKE(m->sites, a, c->layers * (LINEAR_PER_BLOCK + NORMS_PER_BLOCK + PLACES_PER_BLOCK) + OTHER_SITES);
    m->prefix = "model.";
    d->prefix = bare ? "" : m->prefix;
    m->state = d;
    fill_model(m, c);
    return open_sites(a, m, d, head);
}

/* ---- recording ------------------------------------------------------------------------------------------ */

static var *record_norm(tape *t, const decoder_config *c, const site *s, var *x)
{
    var *w = weight_var(t, s->weight);

    return c->plus_one ? ag_rmsnorm_plus(t, x, w, c->eps) : ag_rmsnorm(t, x, w, c->eps);
}

/* q or k: the product, its heads' norm, turned by the positions */
static var *turned(tape *t, const decoder_config *c, const char *place, const site *s, const site *norm, var *x,
                   var *rope)
{
    tape_enter(t, "%s", place);
    var *y = site_linear(t, s, x);
    if (norm)
        y = record_norm(t, c, norm, y);
    y = ag_rope(t, y, rope);
    tape_leave(t);
    return y;
}

static var *attention(const model *m, tape *t, const decoder_block *b, int layer, stream *s, var *x, var *rope)
{
    const decoder_config   *c = &((const decoder *)m->state)->c;
    const attention_options o = {.heads = (int32_t)m->heads, .kv_heads = (int32_t)m->kv_heads, .causal = true,
                                 .scale = c->scale, .softcap = c->score_cap,
                                 .window = c->windows ? c->windows[layer] : 0};
    var *q = turned(t, c, "attn.q", b->q, b->q_norm, x, rope), *k = turned(t, c, "attn.k", b->k, b->k_norm, x, rope);
    var *v = site_product(t, "attn.v", b->v, x);

    if (s->cache) {
        k = ag_scatter_rows(t, tape_tensor(t, &s->cache->k[layer]), k, s->slots);
        v = ag_scatter_rows(t, tape_tensor(t, &s->cache->v[layer]), v, s->slots);
    }
    tape_enter(t, "attn");
    var *y = site_attention(t, b->places.kv, s, q, k, v, &o);
    tape_leave(t);
    return site_product(t, "attn.o", b->o, y);
}

static var *mlp(tape *t, const decoder_config *c, const decoder_block *b, var *x)
{
    var *gate = site_product(t, "mlp.gate", b->gate, x), *up = site_product(t, "mlp.up", b->up, x);

    tape_enter(t, "mlp.down");
    var *y = site_linear(t, b->down, c->act ? ag_mul(t, c->act(t, gate), up) : ag_swiglu(t, gate, up));
    tape_leave(t);
    return y;
}

static var *block(const model *m, tape *t, int l, stream *s, var *x, var *rope)
{
    const decoder       *d = m->state;
    const decoder_block *b = &d->blocks[l];
    var                 *in = record_norm(t, &d->c, b->attn_norm, x), *y = attention(m, t, b, l, s, in, rope);

    if (b->attn_post)
        y = record_norm(t, &d->c, b->attn_post, y);
    x = ag_add(t, x, site_block(t, b->places.after_attn, in, y));
    in = record_norm(t, &d->c, b->mlp_norm, x);
    y = mlp(t, &d->c, b, in);
    if (b->mlp_post)
        y = record_norm(t, &d->c, b->mlp_post, y);
    return ag_add(t, x, site_block(t, b->places.after_mlp, in, y));
}

static var *rope_of(tape *t, const stream *s, const rope *r)
{
    return ag_rope_table(t, s->positions, tape_tensor(t, &r->frequencies), s->q_offsets, &r->o);
}

var *decoder_hidden(model *m, tape *t, stream *s)
{
    const decoder *d = m->state;
    var           *rope = rope_of(t, s, &d->c.full_rope), *local = d->c.local ? rope_of(t, s, &d->c.local_rope) : NULL;

    tape_enter(t, "embed");
    var *x = site_embed(t, d->embedding, s->ids);
    if (d->c.embed_scale != 1)
        x = ag_scale(t, x, d->c.embed_scale);
    tape_leave(t);
    for (int i = 0; i < (int)m->layers; i++) {
        if (s->hidden)
            s->hidden[i] = x;
        tape_enter(t, "block.%d", i);
        tape_block_begin(t);
        x = block(m, t, i, s, x, local && d->c.local[i] ? local : rope);
        tape_block_end(t);
        tape_leave(t);
    }
    tape_enter(t, "norm");
    var *y = record_norm(t, &d->c, d->norm, x);
    tape_leave(t);
    if (s->hidden) {
        s->hidden[m->layers] = x;
        s->hidden[m->layers + 1] = y;
    }
    return y;
}
