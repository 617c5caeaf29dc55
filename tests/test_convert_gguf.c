/* convert: trunks of gemma, gemma2, gemma3 and gpt2 to GGUF files and back. Every way has the same logits, bit for
 * bit, and what the file has in another form than the checkpoint comes back. */
#include "tests/with_convert.h"
#include "tests/with_trunk.h"

#include "core/file.h"
#include "core/gguf_write.h"
#include "core/quant.h"
#include "core/rng.h"
#include "core/safetensors.h"

#include <math.h>

#define GEMMA(type, architecture, layers, more)                                                                \
    "{\"model_type\": \"" type "\", \"architectures\": [\"" architecture "\"], \"hidden_size\": 32, "          \
    "\"intermediate_size\": 64, \"num_hidden_layers\": " layers ", \"num_attention_heads\": 4, "               \
    "\"num_key_value_heads\": 2, \"head_dim\": 40, \"vocab_size\": 60, \"max_position_embeddings\": 64, "      \
    "\"rms_norm_eps\": 1e-5, \"initializer_range\": 0.3" more "}"
#define GEMMA1(more) GEMMA("gemma", "GemmaForCausalLM", "2", ", \"hidden_act\": \"gelu\"" more)
#define GEMMA2(more)                                                                                           \
    GEMMA("gemma2", "Gemma2ForCausalLM", "3", ", \"sliding_window\": 4, \"query_pre_attn_scalar\": 40" more)
#define GEMMA3(more)                                                                                           \
    GEMMA("gemma3_text", "Gemma3ForCausalLM", "4", ", \"sliding_window\": 3, \"query_pre_attn_scalar\": 40" more)
#define GPT2(more)                                                                                             \
    "{\"model_type\": \"gpt2\", \"architectures\": [\"GPT2LMHeadModel\"], \"n_embd\": 32, \"n_layer\": 2, "    \
    "\"n_head\": 4, \"vocab_size\": 60, \"n_inner\": 96, \"n_positions\": 40, \"initializer_range\": 0.3" more "}"

static const char two[] = "[{\"ids\": [7, 3, 59, 12, 5]}, {\"ids\": [9, 8, 7, 6, 5, 4, 3, 2, 11, 30]}]";

/* A trunk of random weights as a folder; norms and biases are no constants. Names lose `without`. */
static const char *trunk_folder(const char *name, const char *json, const char *without)
{
    const size_t      n = strlen(without);
    const char       *path = here(name);
    small             s;
    safetensors_item *items;

    small_open_as(&s, json, 11);
    items = arena_take(&s.memory, (size_t)s.m.n_tensors, sizeof *items);
    for (int i = 0; i < s.m.n_tensors; i++) {
        const model_weight *w = &s.m.tensors[i];
        const char         *full = w->full;
        items[i] = (safetensors_item){strncmp(full, without, n) == 0 ? full + n : full, w->value};
        if (w->turned)
            MUST(weights_turned(&s.memory, &w->value, &items[i].t));
        if (w->value.s.n == 1)
            rng_fill_normal(rng_key_for(5, w->full), 0, 0.3f, items[i].t.v, shape_count(w->value.s));
    }
    MUST(folder_make(path));
    MUST(file_replace(path_join(&s.memory, path, "config.json"), json, strlen(json)));
    MUST(safetensors_write(path_join(&s.memory, path, "model.safetensors"), items, s.m.n_tensors, NULL, 0));
    small_close(&s);
    return path;
}

/* Logits of the trunk at `path`, of both sequences one behind the other. */
static float *logits_of(const char *path, int64_t *n)
{
    cJSON       *sequences = cJSON_Parse(two);
    weights      w;
    model        m;
    trace_result r;
    float       *out;

    MUST(weights_open(&setup, path, &w));
    MUST(model_open(&setup, &w, TYPE_F32, &m));
    MUST(trace_run(&setup, &m, NULL, sequences, "test", &(trace_options){0}, &r));
    cJSON_Delete(sequences);
    out = arena_take(&setup, 15 * 60, sizeof *out);
    *n = 0;
    for (int i = 0; i < r.n; i++)
        if (strstr(r.items[i].name, ".logits")) {
            memcpy(out + *n, r.items[i].t.v, tensor_bytes(&r.items[i].t));
            *n += shape_count(r.items[i].t.s);
        }
    ck_assert_int_eq(*n, 15 * 60);
    weights_close(&w);
    return out;
}

static void same_logits(const char *a, const char *b)
{
    int64_t      n, k;
    const float *x = logits_of(a, &n), *y = logits_of(b, &k);

    for (int64_t i = 0; i < n; i++)
        ck_assert_msg(x[i] == y[i], "logit %d is %.9g in %s, %.9g in %s", (int)i, (double)x[i], a, (double)y[i], b);
}

/* Largest difference over the largest value. */
static double distance(const char *a, const char *b)
{
    int64_t      n, k;
    const float *x = logits_of(a, &n), *y = logits_of(b, &k);
    double       most = 0, size = 0;

    for (int64_t i = 0; i < n; i++) {
        most = fmax(most, fabs((double)x[i] - (double)y[i]));
        size = fmax(size, fabs((double)x[i]));
    }
    return most / size;
}

/* The same settings and tensors, in whatever order. */
static void same_files(const char *a, const char *b)
{
    gguf x, y;

    MUST(gguf_open(&setup, a, &x));
    MUST(gguf_open(&setup, b, &y));
    ck_assert(x.n_pairs == y.n_pairs && x.n_tensors == y.n_tensors);
    for (int64_t i = 0; i < x.n_pairs; i++) {
        const gguf_value *v = &x.pairs[i].value, *w = gguf_find(&y, x.pairs[i].key);
        ck_assert_msg(w && v->kind == w->kind && v->bytes == w->bytes && memcmp(v->v, w->v, v->bytes) == 0, "%s",
                      x.pairs[i].key);
    }
    for (int64_t i = 0; i < x.n_tensors; i++) {
        const tensor      *s = &x.tensors[i].t;
        const gguf_tensor *t = gguf_find_tensor(&y, x.tensors[i].name);
        ck_assert_msg(t && t->t.type == s->type && shape_equal(t->t.s, s->s) &&
                      memcmp(t->t.v, s->v, tensor_bytes(s)) == 0, "%s", x.tensors[i].name);
    }
    gguf_close(&x);
    gguf_close(&y);
}

/* All tensors of `a` are in `b`; a norm that passed through 1 + w has lost at most half a step of that. */
static void same_tensors(const char *a, const char *b, bool plus)
{
    weights x, y;

    MUST(weights_open(&setup, a, &x));
    MUST(weights_open(&setup, b, &y));
    ck_assert_int_eq(x.n, y.n);
    for (int i = 0; i < x.n; i++) {
        const float *u = x.w[i].t.v, *v = y.w[i].t.v;
        const bool   shifted = plus && strstr(x.w[i].name, "norm");
        ck_assert_str_eq(x.w[i].name, y.w[i].name);
        ck_assert(x.w[i].t.type == TYPE_F32 && y.w[i].t.type == TYPE_F32 && shape_equal(x.w[i].t.s, y.w[i].t.s));
        for (int64_t k = 0; k < shape_count(x.w[i].t.s); k++)
            ck_assert_msg(shifted ? 1 + u[k] == 1 + v[k] && fabsf(u[k] - v[k]) <= 0x1p-24f * fmaxf(1, fabsf(1 + u[k]))
                                  : u[k] == v[k],
                          "%s[%d] is %.9g, was %.9g", x.w[i].name, (int)k, (double)v[k], (double)u[k]);
    }
    weights_close(&x);
    weights_close(&y);
}

/* Folder, file, folder, file. */
static void there_and_back(const char *name, const char *json, bool plus)
{
    const char *from = trunk_folder(name, json, "");
    const char *file = converted(from, arena_printf(&setup, "%s.gguf", name), NULL);
    const char *back = converted(file, arena_printf(&setup, "%s-back", name), NULL);

    same_logits(from, file);
    same_logits(from, back);
    same_tensors(from, back, plus);
    same_files(file, converted(back, arena_printf(&setup, "%s-again.gguf", name), NULL));
}

START_TEST(trunks_come_back)
{
    static const struct {
        const char *name, *json;
    } gemmas[] = {
        {"gemma", GEMMA1("")},
        {"gemma2", GEMMA2(", \"attn_logit_softcapping\": 4.5, \"final_logit_softcapping\": 3")},
        {"gemma2_presets", GEMMA2("")},
        {"gemma2_scalar", GEMMA("gemma2", "Gemma2ForCausalLM", "2", ", \"query_pre_attn_scalar\": 12")},
        {"gemma3", GEMMA3("")},
        {"gemma3_more", GEMMA3(", \"sliding_window_pattern\": 2, \"rope_local_base_freq\": 500, "
                               "\"rope_theta\": 20000, \"tie_word_embeddings\": false, "
                               "\"rope_scaling\": {\"rope_type\": \"linear\", \"factor\": 8}")},
        {"gemma3_types", GEMMA3(", \"layer_types\": [\"sliding_attention\", \"sliding_attention\", "
                                "\"full_attention\", \"sliding_attention\"], \"rope_parameters\": "
                                "{\"full_attention\": {\"rope_type\": \"linear\", \"factor\": 2, "
                                "\"rope_theta\": 30000}, \"sliding_attention\": {\"rope_type\": \"default\", "
                                "\"rope_theta\": 700}}")},
        {"gemma3_full", GEMMA3(", \"sliding_window_pattern\": 1")},
    };

    convert_begin();
    for (size_t i = 0; i < COUNT_OF(gemmas); i++)
        there_and_back(gemmas[i].name, gemmas[i].json, true);
    there_and_back("gpt2", GPT2(""), false);
    there_and_back("gpt2_untied", GPT2(", \"tie_word_embeddings\": false, \"layer_norm_epsilon\": 0.01"), false);
    convert_end();
}
END_TEST

/* bf16 keeps few enough digits for 1 + w to keep them too: nothing is lost. */
START_TEST(norms_in_bf16_lose_nothing)
{
    weights x, y;

    convert_begin();
    const char *from = converted(trunk_folder("f32", GEMMA2(""), ""), "bf16", "bf16");
    const char *back = converted(converted(from, "x.gguf", NULL), "back", "bf16");
    MUST(weights_open(&setup, from, &x));
    MUST(weights_open(&setup, back, &y));
    ck_assert_int_eq(x.n, y.n);
    for (int i = 0; i < x.n; i++)
        ck_assert(x.w[i].t.type == TYPE_BF16 && y.w[i].t.type == TYPE_BF16 &&
                  memcmp(x.w[i].t.v, y.w[i].t.v, tensor_bytes(&x.w[i].t)) == 0);
    weights_close(&x);
    weights_close(&y);
    convert_end();
}
END_TEST

/* transformers takes 30.0 where it wouldn't take 30; what was written as a whole number stays one. */
START_TEST(reals_keep_their_points)
{
    static const char json[] =
        GEMMA2(", \"final_logit_softcapping\" : 30.0, \"attn_logit_softcapping\": 5e1, \"rope_theta\": 10000, "
               "\"rope_parameters\": {\"rope_theta\": 2e4, \"rope_type\": \"default\"}");
    char  *text;
    size_t n;

    convert_begin();
    const char *from = trunk_folder("from", json, ""), *copy = converted(from, "copy", NULL);
    MUST(file_read(&setup, path_join(&setup, copy, "config.json"), 1 << 20, &text, &n));
    ck_assert(strstr(text, "\"final_logit_softcapping\":\t30.0,") && strstr(text,
        "\"attn_logit_softcapping\":\t50.0,"));
    ck_assert(strstr(text, "\"query_pre_attn_scalar\":\t40,") && strstr(text, "\"rope_theta\":\t20000.0,"));
    const char *back = converted(converted(from, "x.gguf", NULL), "back", NULL);
    MUST(file_read(&setup, path_join(&setup, back, "config.json"), 1 << 20, &text, &n));
    ck_assert(strstr(text, "\"final_logit_softcapping\":\t30.0,") && strstr(text, "\"query_pre_attn_scalar\":\t40,"));
    convert_end();
}
END_TEST

static double setting(const gguf *g, const char *key)
{
    const gguf_value *found = gguf_find(g, key);
    double            v = NAN;
    int64_t           n;

    ck_assert_msg(found != NULL, "%s is missing", key);
    if (gguf_as_double(found, &v))
        return v;
    ck_assert(gguf_as_int(found, &n));
    return (double)n;
}

static const float *values(const weights *w, const char *name)
{
    const weight *found;

    MUST(weights_need(w, name, &found));
    return found->t.v;
}

/* What the file holds, by llama.cpp's names. */
START_TEST(files_are_as_llama_cpp_has_them)
{
    weights w;
    gguf    g;

    convert_begin();
    const char *from = trunk_folder("gemma3",
                                    GEMMA3(", \"rope_scaling\": {\"rope_type\": \"linear\", \"factor\": 8}"), "");
    MUST(weights_open(&setup, from, &w));
    MUST(gguf_open(&setup, converted(from, "gemma3.gguf", NULL), &g));
    ck_assert(setting(&g, "gemma3.block_count") == 4 && setting(&g, "gemma3.attention.key_length") == 40 &&
              setting(&g, "gemma3.attention.sliding_window") == 3 && setting(&g, "gemma3.rope.freq_base") == 1e6 &&
              setting(&g, "gemma3.rope.scaling.factor") == 8);
    ck_assert(!gguf_find(&g, "gemma3.attention.sliding_window_pattern") && !gguf_find(&g, "gemma3.attention.scale") &&
              !gguf_find(&g, "gemma3.rope.freq_base_swa") && !gguf_find_tensor(&g, "output.weight"));
    ck_assert_int_eq(g.n_tensors, 2 + 4 * 13);
    const float *norm = gguf_find_tensor(&g, "blk.1.post_ffw_norm.weight")->t.v;
    const float *own = values(&w, "model.layers.1.post_feedforward_layernorm.weight");
    for (int i = 0; i < 32; i++)
        ck_assert(norm[i] == 1 + own[i]);
    norm = gguf_find_tensor(&g, "blk.3.attn_k_norm.weight")->t.v;
    ck_assert(norm[5] == 1 + values(&w, "model.layers.3.self_attn.k_norm.weight")[5]);
    const float *q = gguf_find_tensor(&g, "blk.0.attn_q.weight")->t.v;
    ck_assert(memcmp(q, values(&w, "model.layers.0.self_attn.q_proj.weight"), 160 * 32 * sizeof *q) == 0);
    gguf_close(&g);
    weights_close(&w);

    from = trunk_folder("gpt2", GPT2(""), "");
    MUST(weights_open(&setup, from, &w));
    MUST(gguf_open(&setup, converted(from, "gpt2.gguf", NULL), &g));
    ck_assert(setting(&g, "gpt2.context_length") == 40 && setting(&g, "gpt2.feed_forward_length") == 96 &&
              setting(&g, "gpt2.attention.layer_norm_epsilon") == (double)1e-5f);
    const gguf_tensor *qkv = gguf_find_tensor(&g, "blk.1.attn_qkv.weight");
    ck_assert(shape_equal(qkv->t.s, shape_2(96, 32)));
    ck_assert(((const float *)qkv->t.v)[70 * 32 + 3] == values(&w,
                                                               "transformer.h.1.attn.c_attn.weight")[3 * 96 + 70]);
    ck_assert(shape_equal(gguf_find_tensor(&g, "position_embd.weight")->t.s, shape_2(40, 32)));
    gguf_close(&g);
    weights_close(&w);
    convert_end();
}
END_TEST

/* The first gpt2 checkpoints have names without the prefix, and their masks among the tensors. */
START_TEST(bare_names_are_known)
{
    convert_begin();
    const char *bare = trunk_folder("bare", GPT2(""), "transformer.");
    const char *full = trunk_folder("full", GPT2(""), "");
    same_files(converted(bare, "bare.gguf", NULL), converted(full, "full.gguf", NULL));
    convert_end();
}
END_TEST

/* Turned weights stay in their blocks: the file computes as the trunk that it expands to. */
START_TEST(quantised_gpt2_is_read)
{
    convert_begin();
    const char *from = trunk_folder("gpt2", GPT2(""), "");
    const char *file = converted(from, "q8.gguf", "q8_0"), *back = converted(file, "back", NULL);
    weights     w;
    model       m;
    MUST(weights_open(&setup, file, &w));
    MUST(model_open(&setup, &w, TYPE_F32, &m));
    const model_weight *x = model_find(&m, "transformer.h.1.mlp.c_proj.weight");
    ck_assert(x && x->turned && x->value.type == TYPE_Q8_0 && shape_equal(x->value.s, shape_2(32, 96)));
    weights_close(&w);
    ck_assert(distance(file, back) < 1e-5); /* sums of at most 96 roundings, several layers */
    convert_end();
}
END_TEST

/* An adapter on a file is merged into a folder as one on the folder is. */
START_TEST(adapters_on_files_are_merged)
{
    static const char *const kinds[] = {GPT2(""), GEMMA2("")};
    small                    s;

    convert_begin();
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        const char *from = trunk_folder(arena_printf(&setup, "from%zu", i), kinds[i], "");
        const char *file = converted(from, arena_printf(&setup, "from%zu.gguf", i), NULL);
        const char *adapter = here(arena_printf(&setup, "adapter%zu", i));
        const char *a = here(arena_printf(&setup, "a%zu", i)), *b = here(arena_printf(&setup, "b%zu", i));
        small_open_as(&s, kinds[i], 0);
        small_add(&s, "lora", "all-linear", NULL, NULL);
        small_stir(&s, 3);
        MUST(folder_make(adapter));
        MUST(adapter_save(s.p, 0, adapter, &(adapter_info){.base = from}));
        small_close(&s);
        FILE *nowhere = fopen("/dev/null", "w");
        MUST(command_merge(from, adapter, a, NULL, -1, true, nowhere));
        MUST(command_merge(file, adapter, b, NULL, -1, true, nowhere));
        fclose(nowhere);
        same_logits(a, b);
        same_tensors(a, b, i == 1);
        ck_assert(distance(from, a) > 1e-3);
    }
    convert_end();
}
END_TEST

static void refused(const char *json, const char *why)
{
    static int number;
    const char *from = trunk_folder(arena_printf(&setup, "refused%d", number++), json, "");

    MUST_FAIL(try_convert(from, here("x.gguf"), NULL, NULL, 5000), why);
    ck_assert(!path_exists(here("x.gguf")) && !path_exists(here("x.gguf.tmp")));
}

START_TEST(what_a_file_cannot_say_is_refused)
{
    convert_begin();
    refused(GPT2(", \"scale_attn_by_inverse_layer_idx\": true"), "scale_attn_by_inverse_layer_idx");
    refused(GPT2(", \"scale_attn_weights\": false"), "scale_attn_weights");
    refused(GPT2(", \"activation_function\": \"relu\""), "(here 'relu')");
    refused(GEMMA1(", \"tie_word_embeddings\": false"), "lm_head.weight has no place");
    refused(GEMMA1(", \"attention_bias\": true"), "bias has no place");
    refused(GEMMA2(", \"hidden_activation\": \"gelu\""), "hidden_activation is 'gelu'");
    refused(GEMMA2(", \"attn_logit_softcapping\": null"), "attn_logit_softcapping is 0");
    refused(GEMMA3(", \"attn_logit_softcapping\": 3"), "attn_logit_softcapping is 3");
    refused(GEMMA2(", \"layer_types\": [\"full_attention\", \"sliding_attention\", \"full_attention\"]"),
            "elsewhere than in every n-th layer");
    refused(GEMMA3(", \"rope_parameters\": {\"full_attention\": {\"rope_type\": \"default\"}, \"sliding_attention\": "
                   "{\"rope_type\": \"linear\", \"factor\": 2}}"),
            "in layers with a window");
    refused(GEMMA1(", \"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8, \"low_freq_factor\": 1, "
                   "\"high_freq_factor\": 4, \"original_max_position_embeddings\": 32}"),
            "of type 'llama3' cannot be said");
    convert_end();
}
END_TEST

/* The file with one key changed, or gone where `value` is NULL. */
static const char *changed(const char *file, const char *key, const gguf_value *value)
{
    const char *path = here("changed.gguf");
    gguf        g;
    gguf_meta   m = {.a = &setup};
    gguf_item  *items;

    MUST(gguf_open(&setup, file, &g));
    items = arena_take(&setup, (size_t)g.n_tensors, sizeof *items);
    for (int64_t i = 0; i < g.n_pairs; i++)
        if (strcmp(g.pairs[i].key, key) != 0)
            gguf_put(&m, g.pairs[i].key, &g.pairs[i].value);
    if (value)
        gguf_put(&m, key, value);
    for (int64_t i = 0; i < g.n_tensors; i++)
        items[i] = (gguf_item){g.tensors[i].name, g.tensors[i].t};
    MUST(gguf_write(path, &m, items, g.n_tensors, NULL));
    gguf_close(&g);
    return path;
}

static gguf_value number(const uint32_t *v)
{
    return (gguf_value){.kind = GGUF_U32, .n = 1, .v = (const uint8_t *)v, .bytes = 4};
}

START_TEST(settings_are_checked)
{
    static const uint32_t zero = 0, two_ = 2, seven = 7;
    static const float    none = 0;
    const gguf_value      no_scale = {.kind = GGUF_F32, .n = 1, .v = (const uint8_t *)&none, .bytes = 4};
    const gguf_value      nothing = number(&zero), two_heads = number(&two_), odd = number(&seven);
    weights               w;

    convert_begin();
    const char *gpt2 = converted(trunk_folder("gpt2", GPT2(""), ""), "gpt2.gguf", NULL);
    MUST_FAIL(weights_open(&setup, changed(gpt2, "gpt2.attention.layer_norm_epsilon", NULL), &w),
              "layer_norm_epsilon");
    MUST_FAIL(weights_open(&setup, changed(gpt2, "gpt2.context_length", &odd), &w),
              "position_embd.weight is [40, 32]");
    MUST_FAIL(weights_open(&setup, changed(gpt2, "gpt2.attention.head_count", &odd), &w), "multiple of n_head 7");
    MUST_FAIL(weights_open(&setup, changed(gpt2, "gpt2.attention.head_count_kv", &two_heads), &w), "2 key heads");
    MUST_FAIL(weights_open(&setup, changed(gpt2, "gpt2.feed_forward_length", &odd), &w), "must be [7");
    const char *gemma = converted(trunk_folder("gemma2", GEMMA2(""), ""), "gemma2.gguf", NULL);
    MUST_FAIL(weights_open(&setup, changed(gemma, "gemma2.attention.sliding_window_pattern", &nothing), &w),
              "sliding_window_pattern is 0");
    MUST_FAIL(weights_open(&setup, changed(gemma, "gemma2.attention.scale", &no_scale), &w), "must be above 0");
    MUST_FAIL(weights_open(&setup, changed(gemma, "gemma2.block_count", &two_heads), &w), "block must be 0..1");

    /* where the file says nothing, its reader has presets: caps of 50 and 30, a window of 4096 */
    MUST(weights_open(&setup, changed(gemma, "gemma2.attn_logit_softcapping", NULL), &w));
    ck_assert_double_eq(cJSON_GetObjectItem(w.config, "attn_logit_softcapping")->valuedouble, 50);
    weights_close(&w);
    MUST(weights_open(&setup, changed(gemma, "gemma2.attention.sliding_window", NULL), &w));
    ck_assert_double_eq(cJSON_GetObjectItem(w.config, "sliding_window")->valuedouble, 4096);
    weights_close(&w);
    convert_end();
}
END_TEST

TESTS(convert_gguf, trunks_come_back, norms_in_bf16_lose_nothing, reals_keep_their_points,
      files_are_as_llama_cpp_has_them,
      bare_names_are_known,
      quantised_gpt2_is_read, adapters_on_files_are_merged, what_a_file_cannot_say_is_refused, settings_are_checked)
