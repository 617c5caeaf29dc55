/* weights: the tensors of a GGUF file under their checkpoint names, checked against the config */
#include "core/json.h"
#include "core/quant.h"
#include "layers/weights_files.h"

#include <string.h>

/* Sizes in letters: v words, h width, f hidden width of the mlp, q and k rows of the projections,
 * r half a head. */
typedef struct role {
    const char *gguf, *checkpoint, *sizes;
    bool        need;
    char        permuted; /* 'q', 'k': by heads or key heads; 0: not */
} role;

static const role whole[] = {
    {"token_embd.weight", "model.embed_tokens.weight", "vh", true, 0},
    {"output_norm.weight", "model.norm.weight", "h", true, 0},
    {"output.weight", "lm_head.weight", "vh", false, 0},
    {"rope_freqs.weight", "rope_freqs.weight", "r", false, 0},
};

/* Behind "blk.N." and "model.layers.N.". A role that is not needed is in all blocks or in none. */
static const role block[] = {
    {"attn_norm.weight", "input_layernorm.weight", "h", true, 0},
    {"attn_q.weight", "self_attn.q_proj.weight", "qh", true, 'q'},
    {"attn_k.weight", "self_attn.k_proj.weight", "kh", true, 'k'},
    {"attn_v.weight", "self_attn.v_proj.weight", "kh", true, 0},
    {"attn_output.weight", "self_attn.o_proj.weight", "hq", true, 0},
    {"ffn_norm.weight", "post_attention_layernorm.weight", "h", true, 0},
    {"ffn_gate.weight", "mlp.gate_proj.weight", "fh", true, 0},
    {"ffn_up.weight", "mlp.up_proj.weight", "fh", true, 0},
    {"ffn_down.weight", "mlp.down_proj.weight", "hf", true, 0},
    {"attn_q.bias", "self_attn.q_proj.bias", "q", false, 'q'},
    {"attn_k.bias", "self_attn.k_proj.bias", "k", false, 'k'},
    {"attn_v.bias", "self_attn.v_proj.bias", "k", false, 0},
    {"attn_output.bias", "self_attn.o_proj.bias", "h", false, 0},
    {"ffn_gate.bias", "mlp.gate_proj.bias", "f", false, 0},
    {"ffn_up.bias", "mlp.up_proj.bias", "f", false, 0},
    {"ffn_down.bias", "mlp.down_proj.bias", "h", false, 0},
};

enum { BLOCK_ROLES = COUNT_OF(block) };

typedef struct reader {
    const char *path;
    int64_t     layers, hidden, ffn, heads, kv_heads, head_dim, vocab;
    bool        permutes;
    uint8_t    *seen; /* [layers][BLOCK_ROLES] */
} reader;

/* weights_gguf_config has checked all ranges. */
static status read_sizes(const cJSON *config, reader *r)
{
    const struct {
        const char *key;
        int64_t    *to;
    } sizes[] = {{"num_hidden_layers", &r->layers},
                 {"hidden_size", &r->hidden},
                 {"intermediate_size", &r->ffn},
                 {"num_attention_heads", &r->heads},
                 {"num_key_value_heads", &r->kv_heads},
                 {"head_dim", &r->head_dim},
                 {"vocab_size", &r->vocab}};

    for (size_t i = 0; i < COUNT_OF(sizes); i++)
        TRY(json_int(config, sizes[i].key, true, 1, INT32_MAX, sizes[i].to, r->path));
    return STATUS_OK;
}

static int64_t size_of(const reader *r, char letter)
{
    switch (letter) {
    case 'v':
        return r->vocab;
    case 'h':
        return r->hidden;
    case 'f':
        return r->ffn;
    case 'q':
        return r->heads * r->head_dim;
    case 'k':
        return r->kv_heads * r->head_dim;
    default:
        return r->head_dim / 2;
    }
}

static status check_tensor(const reader *r, const role *as, const gguf_tensor *g)
{
    shape want = {.n = (int)strlen(as->sizes)};

    for (int i = 0; i < want.n; i++)
        want.d[i] = size_of(r, as->sizes[i]);
    if (!shape_equal(g->t.s, want))
        return fail(STATUS_SHAPE, "%s: tensor %.200s is %s, must be %s", r->path, g->name,
                    shape_text(g->t.s), shape_text(want));
    if (!quant_is_real(g->t.type))
        return fail(STATUS_FORMAT, "%s: tensor %.200s is stored as %s, must hold real numbers",
                    r->path, g->name, dtype_name(g->t.type));
    return STATUS_OK;
}

/* The file keeps the rows of a head in the order 0, D/2, 1, D/2 + 1, ...: llama.cpp rotates
 * neighbours, the checkpoint rotates halves. Rows are moved as bytes. */
static status unpermute(arena *a, const reader *r, int64_t heads, tensor *t)
{
    const int64_t  D = r->head_dim;
    const size_t   row = tensor_bytes(t) / (size_t)(heads * D);
    const uint8_t *from = t->v;
    uint8_t       *to;

    if (t->s.n == 1 && dtype_block(t->type) != 1)
        return fail(STATUS_UNSUPPORTED,
                    "%s: a bias of q or k is stored as %s, must be a plain type", r->path,
                    dtype_name(t->type));
    TRY_TAKE(to, a, tensor_bytes(t));
    for (int64_t h = 0; h < heads; h++)
        for (int64_t i = 0; i < D / 2; i++)
            for (int64_t half = 0; half < 2; half++)
                memcpy(to + (size_t)(h * D + half * (D / 2) + i) * row,
                       from + (size_t)(h * D + 2 * i + half) * row, row);
    t->v = to;
    return STATUS_OK;
}

/* "blk.12.attn_q.weight" -> 12 and "attn_q.weight"; NULL when it is not of that form. Leading zeros
 * are not accepted, so that two names never mean one tensor. */
static const char *split_block(const char *name, int64_t *number)
{
    const char *p = name + 4;
    int64_t     n = 0;

    if (strncmp(name, "blk.", 4) != 0 || *p < '0' || *p > '9' || (*p == '0' && p[1] != '.'))
        return NULL;
    for (; *p >= '0' && *p <= '9'; p++) {
        n = n * 10 + (*p - '0');
        if (n > INT32_MAX)
            return NULL;
    }
    *number = n;
    return *p == '.' ? p + 1 : NULL;
}

static const role *find_role(const role *roles, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(roles[i].gguf, name) == 0)
            return &roles[i];
    return NULL;
}

static status translate(arena *a, const reader *r, const gguf_tensor *g, weight *out)
{
    const role *as = find_role(whole, COUNT_OF(whole), g->name);
    const char *below;
    int64_t     number = 0;

    if (as)
        out->name = as->checkpoint;
    else {
        below = split_block(g->name, &number);
        as = below ? find_role(block, COUNT_OF(block), below) : NULL;
        if (!as)
            return fail(STATUS_UNSUPPORTED, "%s: tensor %.200s is not known for this architecture",
                        r->path, g->name);
        if (number >= r->layers)
            return fail(STATUS_FORMAT,
                        "%s: tensor %.200s: the block must be 0..%lld, block_count is "
                        "%lld",
                        r->path, g->name, (long long)r->layers - 1, (long long)r->layers);
        out->name = arena_printf(a, "model.layers.%lld.%s", (long long)number, as->checkpoint);
        if (!out->name)
            return STATUS_MEMORY;
        r->seen[number * BLOCK_ROLES + (as - block)] = 1;
    }
    TRY(check_tensor(r, as, g));
    out->t = g->t;
    if (as->permuted && r->permutes)
        TRY(unpermute(a, r, as->permuted == 'q' ? r->heads : r->kv_heads, &out->t));
    return STATUS_OK;
}

static status check_complete(const reader *r, const gguf *g)
{
    for (size_t i = 0; i < COUNT_OF(whole); i++)
        if (whole[i].need && !gguf_find_tensor(g, whole[i].gguf))
            return fail(STATUS_FORMAT, "%s: has no tensor %s", r->path, whole[i].gguf);
    for (int j = 0; j < BLOCK_ROLES; j++) {
        bool any = block[j].need;
        for (int64_t n = 0; n < r->layers; n++)
            any = any || r->seen[n * BLOCK_ROLES + j];
        for (int64_t n = 0; any && n < r->layers; n++)
            if (!r->seen[n * BLOCK_ROLES + j])
                return fail(STATUS_FORMAT, "%s: has no tensor blk.%lld.%s, must have %lld blocks",
                            r->path, (long long)n, block[j].gguf, (long long)r->layers);
    }
    return STATUS_OK;
}

status weights_from_gguf(arena *a, weights *w)
{
    const gguf *g = &w->files->container;
    reader      r = {.path = w->path};
    const char *architecture;

    TRY(weights_gguf_config(a, g, &w->config));
    TRY(gguf_string(a, g, "general.architecture", true, &architecture));
    r.permutes = weights_gguf_permutes(architecture);
    TRY(read_sizes(w->config, &r));
    TRY_TAKE(r.seen, a, r.layers * BLOCK_ROLES);
    memset(r.seen, 0, (size_t)r.layers * BLOCK_ROLES);
    TRY_TAKE(w->w, a, g->n_tensors);
    for (int64_t i = 0; i < g->n_tensors; i++)
        TRY(translate(a, &r, &g->tensors[i], &w->w[i]));
    w->n = (int)g->n_tensors;
    return check_complete(&r, g);
}
