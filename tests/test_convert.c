/* convert: GGUF files and shards as they are written, and round trips of trunks, tokenizers and adapters */
#include "tests/with_convert.h"

#include "core/file.h"
#include "core/gguf_write.h"
#include "core/quant.h"
#include "core/safetensors.h"
#include "data/tokenizer.h"
#include "layers/weights.h"

#include <math.h>
#include <signal.h>
#include <sys/resource.h>

static const char *golden(const char *name)
{
    return arena_printf(&setup, "%s/%s", golden_folder(), name);
}

/* ---- files --------------------------------------------------------------------------------------- */

static void same_value(const gguf_value *a, const gguf_value *b)
{
    ck_assert(b && a->kind == b->kind && a->of == b->of && a->n == b->n && a->bytes == b->bytes);
    ck_assert(memcmp(a->v, b->v, a->bytes) == 0);
}

START_TEST(gguf_written_is_gguf_read)
{
    gguf      g, back;
    gguf_meta m = {.a = &setup};

    if (!golden_folder())
        SKIP("no golden files");
    convert_begin();
    MUST(gguf_open(&setup, golden("gguf/metadata.gguf"), &g));
    gguf_item *items = arena_take(&setup, (size_t)g.n_tensors, sizeof *items);
    for (int64_t i = 0; i < g.n_pairs; i++)
        gguf_put(&m, g.pairs[i].key, &g.pairs[i].value);
    for (int64_t i = 0; i < g.n_tensors; i++)
        items[i] = (gguf_item){g.tensors[i].name, g.tensors[i].t};
    const char *path = here("x.gguf");
    MUST(gguf_write(path, &m, items, g.n_tensors, NULL));
    MUST(gguf_open(&setup, path, &back));
    ck_assert(back.version == 3 && back.n_pairs == g.n_pairs && back.alignment == 64);
    ck_assert_int_eq(back.n_tensors, g.n_tensors);
    for (int64_t i = 0; i < g.n_pairs; i++)
        same_value(&g.pairs[i].value, gguf_find(&back, g.pairs[i].key));
    for (int64_t i = 0; i < g.n_tensors; i++) {
        const gguf_tensor *t = gguf_find_tensor(&back, g.tensors[i].name);
        ck_assert(t && t->t.type == g.tensors[i].t.type && shape_equal(t->t.s, g.tensors[i].t.s));
        ck_assert(memcmp(t->t.v, g.tensors[i].t.v, tensor_bytes(&t->t)) == 0);
        ck_assert_uint_eq(t->offset % 64, 0);
    }
    gguf_close(&back);
    gguf_close(&g);
    convert_end();
}
END_TEST

START_TEST(put_values_are_found)
{
    const gguf_text texts[] = {{"a", 1}, {"", 0}, {"x\0y", 3}};
    const int32_t   ints[] = {1, -2, 3};
    gguf            g;
    gguf_meta       m = {.a = &setup};
    gguf_text      *back;
    int64_t        *whole, n;
    double          d;
    bool            b = false;

    convert_begin();
    gguf_put_u32(&m, "u", 1);
    gguf_put_f32(&m, "f", 0.5f);
    gguf_put_bool(&m, "b", true);
    gguf_put_string(&m, "s", "text");
    gguf_put_texts(&m, "t", texts, 3);
    gguf_put_array(&m, "i", GGUF_I32, ints, 3);
    gguf_put_array(&m, "none", GGUF_F64, NULL, 0);
    gguf_put_u32(&m, "u", 7); /* instead of the 1 */
    MUST(gguf_write(here("x.gguf"), &m, NULL, 0, NULL));
    MUST(gguf_open(&setup, here("x.gguf"), &g));
    ck_assert_int_eq(g.n_pairs, 7);
    MUST(gguf_int(&g, "u", true, 0, 9, &n));
    ck_assert_int_eq(n, 7);
    MUST(gguf_double(&g, "f", true, &d));
    MUST(gguf_bool(&g, "b", true, &b));
    ck_assert(d == 0.5 && b);
    MUST(gguf_texts(&setup, &g, "t", true, &back, &n));
    ck_assert(n == 3 && back[1].n == 0 && back[2].n == 3 && memcmp(back[2].v, "x\0y", 3) == 0);
    MUST(gguf_ints(&setup, &g, "i", true, &whole, &n));
    ck_assert(n == 3 && whole[1] == -2);
    gguf_close(&g);
    convert_end();
}
END_TEST

START_TEST(gguf_writer_refuses)
{
    static float v[64];
    gguf_item    two[2] = {{"a", {.s = shape_1(64), .type = TYPE_F32, .v = v}},
                           {"a", {.s = shape_1(64), .type = TYPE_F32, .v = v}}};
    gguf_meta    m = {.a = &setup}, odd = {.a = &setup};

    convert_begin();
    const char *path = here("x.gguf");
    MUST_FAIL(gguf_write(path, &m, two, 2, NULL), "tensor a occurs twice");
    two[1].name = "\xff";
    MUST_FAIL(gguf_write(path, &m, two, 2, NULL), "not valid UTF-8");
    two[1].name = "b";
    two[1].t.type = TYPE_U8;
    MUST_FAIL(gguf_write(path, &m, two, 2, NULL), "b is u8, which the format cannot hold");
    two[1].t = (tensor){.s = shape_1(33), .type = TYPE_Q8_0, .v = v};
    MUST_FAIL(gguf_write(path, &m, two, 2, NULL), "whole blocks of 32");
    two[1].t = (tensor){.s = shape_1(0), .type = TYPE_F32, .v = v};
    MUST_FAIL(gguf_write(path, &m, two, 2, NULL), "no empty tensors");
    gguf_put_u32(&m, "general.alignment", 48);
    MUST_FAIL(gguf_write(path, &m, two, 1, NULL), "alignment is 48");
    gguf_put_plain(&odd, "b", GGUF_BOOL, &(uint8_t){2});
    MUST_FAIL(gguf_write(path, &odd, two, 1, NULL), "a bool of 2");
    ck_assert(!path_exists(path));
    convert_end();
}
END_TEST

/* A disk that is full, as a limit on the size of files shows it. */
START_TEST(a_full_disk_loses_nothing)
{
    static float        v[1 << 16];
    const gguf_item     item = {"a", {.s = shape_1(1 << 16), .type = TYPE_F32, .v = v}};
    const gguf_meta     m = {.a = &setup};
    const struct rlimit most = {1 << 16, 1 << 16};
    char               *text;
    size_t              n;

    convert_begin();
    const char *path = here("x.gguf");
    MUST(file_replace(path, "old", 3));
    signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &most), 0);
    MUST_FAIL(gguf_write(path, &m, &item, 1, NULL), "cannot write");
    MUST(file_read(&setup, path, 100, &text, &n));
    ck_assert_str_eq(text, "old");
    ck_assert(!path_exists(here("x.gguf.tmp")));
    convert_end();
}
END_TEST

START_TEST(shards_come_back)
{
    static float     v[6][10];
    safetensors_item items[6];
    weights          w;
    int              files;

    convert_begin();
    for (int i = 0; i < 6; i++) {
        items[i] = (safetensors_item){arena_printf(&setup, "t%d", 5 - i),
                                      {.s = shape_1(10), .type = TYPE_F32, .v = v[i]}};
        for (int k = 0; k < 10; k++)
            v[i][k] = (float)(10 * i + k);
    }
    MUST(file_replace(here("config.json"), "{}", 2));
    MUST(safetensors_write_shards(folder, items, 6, 100, NULL, &files));
    ck_assert_int_eq(files, 3);
    ck_assert(path_exists(here("model-00003-of-00003.safetensors")) &&
              !path_exists(here("model.safetensors")));
    MUST(weights_open(&setup, folder, &w));
    ck_assert_int_eq(w.n, 6);
    for (int i = 0; i < 6; i++)
        ck_assert(memcmp(w.w[i].t.v, v[5 - i], sizeof v[0]) == 0);
    weights_close(&w);
    MUST(safetensors_write_shards(folder, items, 6, 1000, NULL, &files));
    ck_assert_int_eq(files, 1);
    MUST(weights_open(&setup, folder, &w));
    ck_assert_int_eq(w.n, 6);
    weights_close(&w);
    convert_end();
}
END_TEST

static void write_raw(const char *header, const void *data, size_t bytes)
{
    const uint64_t n = strlen(header);
    file_writer    w;

    MUST(file_writer_open(&w, here("model.safetensors")));
    file_write(&w, &n, 8);
    file_write(&w, header, n);
    file_write(&w, data, bytes);
    MUST(file_writer_close(&w, true));
}

START_TEST(narrow_types_are_widened)
{
    /* one, the largest, the smallest, NaN: of E4M3, then E5M2 with its infinity; then I8, I16, BOOL */
    static const uint8_t data[] = {0x38, 0x7E, 0x01, 0x7F, 0x3C, 0x7B, 0x01, 0x7C, 0xFF, 0x7F, 0x00, 0x80, 1};
    static const char    header[] =
        "{\"a\":{\"dtype\":\"F8_E4M3\",\"shape\":[4],\"data_offsets\":[0,4]},"
        "\"b\":{\"dtype\":\"F8_E5M2\",\"shape\":[4],\"data_offsets\":[4,8]},"
        "\"c\":{\"dtype\":\"I8\",\"shape\":[2],\"data_offsets\":[8,10]},"
        "\"d\":{\"dtype\":\"I16\",\"shape\":[1],\"data_offsets\":[10,12]},"
        "\"e\":{\"dtype\":\"BOOL\",\"shape\":[],\"data_offsets\":[12,13]}}";
    uint8_t bad[sizeof data];
    weights w;
    float   v[4];

    convert_begin();
    MUST(file_replace(here("config.json"), "{}", 2));
    write_raw(header, data, sizeof data);
    MUST(weights_open(&setup, folder, &w));
    ck_assert_int_eq(w.n, 5);
    ck_assert_int_eq(w.w[0].t.type, TYPE_BF16);
    quant_expand(TYPE_BF16, w.w[0].t.v, 4, v);
    ck_assert(v[0] == 1 && v[1] == 448 && v[2] == 0x1p-9f && isnan(v[3]));
    quant_expand(TYPE_BF16, w.w[1].t.v, 4, v);
    ck_assert(v[0] == 1 && v[1] == 57344 && v[2] == 0x1p-16f && isinf(v[3]));
    const int32_t *c = w.w[2].t.v, *d = w.w[3].t.v;
    ck_assert(w.w[2].t.type == TYPE_I32 && c[0] == -1 && c[1] == 127 && d[0] == -32768);
    ck_assert(w.w[4].t.type == TYPE_U8 && *(const uint8_t *)w.w[4].t.v == 1);
    weights_close(&w);

    memcpy(bad, data, sizeof bad);
    bad[12] = 2;
    write_raw(header, bad, sizeof bad);
    MUST_FAIL(weights_open(&setup, folder, &w), "a BOOL must be 0 or 1");
    write_raw(header, data, sizeof data);
    MUST(file_replace(here("config.json"), "{\"quantization_config\":{}}", 26));
    MUST_FAIL(weights_open(&setup, folder, &w), "a is stored as F8_E4M3 with scales");
    convert_end();
}
END_TEST

/* ---- trunks -------------------------------------------------------------------------------------- */

/* Values of every tensor that `type` is the type of in `a` (TYPE_COUNT: of all) are the same in b. Returns
 * how many tensors that were. */
static int same_tensors(const char *a, const char *b, dtype type, bool bytes)
{
    weights x, y;
    int     n = 0;

    MUST(weights_open(&setup, a, &x));
    MUST(weights_open(&setup, b, &y));
    ck_assert_int_eq(x.n, y.n);
    for (int i = 0; i < x.n; i++) {
        const tensor *s = &x.w[i].t, *t = &y.w[i].t;
        ck_assert_str_eq(x.w[i].name, y.w[i].name);
        ck_assert(shape_equal(s->s, t->s));
        if (type != TYPE_COUNT && s->type != type)
            continue;
        const int64_t count = shape_count(s->s);
        float        *u = arena_take(&setup, (size_t)count, sizeof *u),
              *v = arena_take(&setup, (size_t)count, sizeof *v);
        quant_expand(s->type, s->v, count, u);
        quant_expand(t->type, t->v, count, v);
        for (int64_t k = 0; k < count; k++)
            ck_assert_msg(u[k] == v[k], "%s[%d]: %g, then %g", x.w[i].name, (int)k, (double)u[k],
                          (double)v[k]);
        if (bytes)
            ck_assert(s->type == t->type && memcmp(s->v, t->v, tensor_bytes(s)) == 0);
        n++;
    }
    weights_close(&x);
    weights_close(&y);
    return n;
}

START_TEST(folder_to_file_and_back)
{
    if (!golden_folder())
        SKIP("no golden files");
    convert_begin();
    const char *f32 = converted(golden("gguf/llama/tied_f16_hf"), "f32", "f32");
    const char *file = converted(f32, "f32.gguf", "f32");
    ck_assert_int_eq(same_tensors(f32, converted(file, "again", NULL), TYPE_COUNT, true), 20);
    const char *f16 = converted(file, "f16", "f16");
    ck_assert_int_eq(same_tensors(golden("gguf/llama/tied_f16_hf"), f16, TYPE_COUNT, true), 20);
    const char *stored = converted(golden("gguf/llama/tied_f16_hf"), "stored.gguf", NULL);
    ck_assert_int_eq(same_tensors(golden("gguf/llama/tied_f16.gguf"), stored, TYPE_F16, true), 15);
    MUST_FAIL(try_convert(f32, file, NULL, NULL, 1), "exists already");
    MUST_FAIL(try_convert(f32, here("x"), "q8_0", NULL, 1), "name OUT.gguf for q8_0");
    MUST_FAIL(try_convert(f32, here("x.gguf"), "q5_k", NULL, 1), "--type is q5_k, must be");
    ck_assert(!path_exists(here("x")) && !path_exists(here("x.tmp")) && !path_exists(here("x.gguf")));
    convert_end();
}
END_TEST

/* qwen3 has norms of its heads, whose rows lie as they are. */
START_TEST(norms_of_heads_come_along)
{
    const char *from = SOURCE_FOLDER "/tests/golden/trunks/qwen3";

    convert_begin();
    const char *file = converted(from, "qwen3.gguf", NULL), *back = converted(file, "qwen3", NULL);
    ck_assert_int_eq(same_tensors(from, back, TYPE_F32, true), 47);
    convert_end();
}
END_TEST

START_TEST(file_to_folder_and_back)
{
    if (!golden_folder())
        SKIP("no golden files");
    convert_begin();
    const char *mixed = golden("gguf/llama/untied_q8_q4.gguf");
    const char *f32 = here("mixed");
    MUST(try_convert(mixed, f32, NULL, NULL, 0.05));
    ck_assert(path_exists(path_join(&setup, f32, "model.safetensors.index.json")));
    ck_assert_int_eq(same_tensors(mixed, f32, TYPE_COUNT, false), 21);
    ck_assert_int_eq(same_tensors(mixed, converted(f32, "q4.gguf", "q4_1"), TYPE_Q4_1, false), 14);
    ck_assert_int_eq(same_tensors(mixed, converted(f32, "q8.gguf", "q8_0"), TYPE_Q8_0, false), 2);
    ck_assert_int_eq(same_tensors(mixed, converted(mixed, "copy.gguf", NULL), TYPE_COUNT, true), 21);

    const char *rope = golden("gguf/llama/llama3_rope_q8.gguf");
    f32 = converted(rope, "rope", NULL);
    ck_assert_int_eq(same_tensors(rope, converted(f32, "rope.gguf", "q8_0"), TYPE_Q8_0, false), 15);
    weights w;
    MUST(weights_open(&setup, f32, &w));
    const cJSON *scaling = cJSON_GetObjectItem(w.config, "rope_scaling");
    ck_assert_double_eq(cJSON_GetObjectItem(scaling, "factor")->valuedouble, 8);
    ck_assert_double_eq(cJSON_GetObjectItem(scaling, "original_max_position_embeddings")->valuedouble, 128);
    ck_assert_double_eq(cJSON_GetObjectItem(w.config, "rms_norm_eps")->valuedouble, 1e-5);
    weights_close(&w);
    convert_end();
}
END_TEST

START_TEST(what_has_no_place_is_refused)
{
    safetensors_item *items;
    weights           w;
    int               files;

    if (!golden_folder())
        SKIP("no golden files");
    convert_begin();
    const char *f32 = converted(golden("gguf/llama/tied_f16_hf"), "f32", "f32");
    MUST(weights_open(&setup, f32, &w));
    items = arena_take(&setup, (size_t)w.n + 1, sizeof *items);
    for (int i = 0; i < w.n; i++) {
        items[i] = (safetensors_item){w.w[i].name, w.w[i].t};
        items[i].t.v = arena_copy(&setup, w.w[i].t.v, tensor_bytes(&w.w[i].t));
    }
    const int n = w.n;
    weights_close(&w);
    items[n] = (safetensors_item){"model.odd.weight", items[0].t};
    MUST(safetensors_write_shards(f32, items, n + 1, 1 << 30, NULL, &files));
    MUST_FAIL(try_convert(f32, here("x.gguf"), NULL, NULL, 1), "model.odd.weight has no place");
    items[n].name = "lm_head.weight"; /* tied: a copy of the embedding, which is left out */
    MUST(safetensors_write_shards(f32, items, n + 1, 1 << 30, NULL, &files));
    MUST(try_convert(f32, here("tied.gguf"), NULL, NULL, 1));
    MUST(safetensors_write_shards(f32, items, n - 1, 1 << 30, NULL, &files));
    MUST_FAIL(try_convert(f32, here("x.gguf"), NULL, NULL, 1), "has no tensor");
    ((float *)items[0].t.v)[5] = 1e6f;
    MUST(safetensors_write_shards(f32, items, n, 1 << 30, NULL, &files));
    MUST_FAIL(try_convert(f32, here("x.gguf"), "f16", NULL, 1), "value 5 is 1e+06, which f16 cannot hold");
    MUST(file_replace(path_join(&setup, f32, "config.json"), "{\"model_type\":\"bloom\"}", 22));
    MUST_FAIL(try_convert(f32, here("x.gguf"), NULL, NULL, 1), "model_type is 'bloom'");
    ck_assert(!path_exists(here("x.gguf")) && !path_exists(here("x.gguf.tmp")));
    convert_end();
}
END_TEST

static void same_ids(const tokenizer *a, const tokenizer *b, const char *text)
{
    token_list x, y;

    MUST(tokenizer_encode(a, &setup, text, strlen(text), true, &x));
    MUST(tokenizer_encode(b, &setup, text, strlen(text), true, &y));
    ck_assert_int_eq(x.n, y.n);
    ck_assert(memcmp(x.ids, y.ids, (size_t)x.n * sizeof *x.ids) == 0);
}

START_TEST(tokenizers_go_along)
{
    tokenizer *file, *back, *again;
    gguf       a, b;

    if (!golden_folder())
        SKIP("no golden files");
    convert_begin();
    const char *from = golden("gguf/llama/tied_f16.gguf");
    const char *f = converted(from, "f", NULL);
    const char *g = converted(f, "g.gguf", NULL);
    MUST(tokenizer_open(&setup, from, &file));
    MUST(tokenizer_open(&setup, f, &back));
    MUST(tokenizer_open(&setup, g, &again));
    ck_assert(tokenizer_bos(file) == tokenizer_bos(back) && tokenizer_eos(file) == tokenizer_eos(again));
    ck_assert_int_eq(tokenizer_size(file), tokenizer_size(again));
    const char *const texts[] = {"The quick brown fox, 12345 times.\n\n  It's \xc3\xa9t\xc3\xa9!", "",
                                 "<|endoftext|>a\tb\r\n"};
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        same_ids(file, back, texts[i]);
        same_ids(file, again, texts[i]);
    }
    MUST(gguf_open(&setup, from, &a));
    MUST(gguf_open(&setup, g, &b));
    same_value(gguf_find(&a, "tokenizer.ggml.merges"), gguf_find(&b, "tokenizer.ggml.merges"));
    same_value(gguf_find(&a, "tokenizer.ggml.tokens"), gguf_find(&b, "tokenizer.ggml.tokens"));
    gguf_close(&a);
    gguf_close(&b);
    tokenizer_close(file);
    tokenizer_close(back);
    tokenizer_close(again);
    convert_end();
}
END_TEST

/* ---- adapters ------------------------------------------------------------------------------------ */

enum { RANK = 3 };

/* A LoRA on q of block 0 and down of block 1 of the golden trunk: A and B count upwards. */
static const char *test_adapter(const char *name, const char *more)
{
    static float     v[4][128 * RANK];
    safetensors_item items[] = {
        {"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight",
         {.s = shape_2(RANK, 64), .type = TYPE_F32, .v = v[0]}},
        {"base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight",
         {.s = shape_2(64, RANK), .type = TYPE_F32, .v = v[1]}},
        {"base_model.model.model.layers.1.mlp.down_proj.lora_A.weight",
         {.s = shape_2(RANK, 128), .type = TYPE_F32, .v = v[2]}},
        {"base_model.model.model.layers.1.mlp.down_proj.lora_B.weight",
         {.s = shape_2(64, RANK), .type = TYPE_F32, .v = v[3]}}};
    const char *path = here(name);
    const char *config =
        arena_printf(&setup,
                     "{\"peft_type\":\"LORA\",\"r\":3,\"lora_alpha\":6,%s\"base_model_name_or_path\":\"%s\","
                     "\"target_modules\":"
                     "[\"model.layers.0.self_attn.q_proj\",\"model.layers.1.mlp.down_proj\"]}",
                     more, golden("gguf/llama/tied_f16.gguf"));

    for (int i = 0; i < 4; i++)
        for (int k = 0; k < 128 * RANK; k++)
            v[i][k] = (float)(1000 * i + k) / 512;
    MUST(folder_make(path));
    MUST(file_replace(path_join(&setup, path, "adapter_config.json"), config, strlen(config)));
    MUST(safetensors_write(path_join(&setup, path, "adapter_model.safetensors"), items, 4, NULL, 0));
    return path;
}

START_TEST(adapters_come_back)
{
    gguf        g;
    safetensors x, y;
    double      alpha;

    if (!golden_folder())
        SKIP("no golden files");
    convert_begin();
    const char *given = test_adapter("given", "");
    const char *file = converted(given, "lora.gguf", NULL), *back = here("back");
    MUST(gguf_open(&setup, file, &g));
    MUST(gguf_double(&g, "adapter.lora.alpha", true, &alpha));
    ck_assert(alpha == 6 && g.n_tensors == 4);
    const gguf_tensor *b = gguf_find_tensor(&g, "blk.0.attn_q.weight.lora_b");
    ck_assert(b && shape_equal(b->t.s, shape_2(64, RANK)));
    /* heads of 16: row 1 of the file is row 8 of the checkpoint, row 17 is row 24 */
    const float *v = b->t.v;
    ck_assert(v[1 * RANK] == (1000 + 8.f * RANK) / 512 && v[17 * RANK] == (1000 + 24.f * RANK) / 512);
    const float *down = gguf_find_tensor(&g, "blk.1.ffn_down.weight.lora_b")->t.v;
    ck_assert(down[1 * RANK] == (3000 + 1.f * RANK) / 512);
    gguf_close(&g);

    MUST_FAIL(try_convert(file, back, NULL, NULL, 1), "give one with --base");
    MUST_FAIL(weights_open(&setup, file, &(weights){0}), "holds an adapter");
    MUST(try_convert(file, back, NULL, golden("gguf/llama/tied_f16.gguf"), 1));
    MUST(safetensors_open(&setup, path_join(&setup, given, "adapter_model.safetensors"), &x));
    MUST(safetensors_open(&setup, path_join(&setup, back, "adapter_model.safetensors"), &y));
    ck_assert_int_eq(x.n, y.n);
    for (int i = 0; i < x.n; i++) {
        ck_assert_str_eq(x.e[i].name, y.e[i].name);
        ck_assert(x.e[i].bytes == y.e[i].bytes && memcmp(x.e[i].v, y.e[i].v, x.e[i].bytes) == 0);
    }
    safetensors_close(&x);
    safetensors_close(&y);
    MUST(try_convert(back, here("second.gguf"), NULL, golden("gguf/llama/tied_f16.gguf"), 1));
    size_t n, k;
    char  *one, *two;
    MUST(file_read(&setup, file, 1 << 20, &one, &n));
    MUST(file_read(&setup, here("second.gguf"), 1 << 20, &two, &k));
    ck_assert(n == k && memcmp(one, two, n) == 0);
    convert_end();
}
END_TEST

/* alpha / sqrt(rank), and an alpha of a site's own: alpha and B say together what the scale is. */
START_TEST(other_scales_are_kept)
{
    gguf   g;
    double alpha;

    if (!golden_folder())
        SKIP("no golden files");
    convert_begin();
    const char *file = converted(test_adapter("rs", "\"use_rslora\":true,"), "rs.gguf", NULL);
    MUST(gguf_open(&setup, file, &g));
    MUST(gguf_double(&g, "adapter.lora.alpha", true, &alpha));
    ck_assert(fabs(alpha - 6 * sqrt(3)) < 1e-6);
    gguf_close(&g);
    file =
        converted(test_adapter("pattern", "\"alpha_pattern\":{\"down_proj\":12},"), "pattern.gguf", NULL);
    MUST(gguf_open(&setup, file, &g));
    MUST(gguf_double(&g, "adapter.lora.alpha", true, &alpha));
    ck_assert(alpha == 6);
    const float *down = gguf_find_tensor(&g, "blk.1.ffn_down.weight.lora_b")->t.v;
    ck_assert(down[1 * RANK] == 2 * (3000 + 1.f * RANK) / 512);
    gguf_close(&g);
    MUST_FAIL(try_convert(here("rs"), here("x"), NULL, NULL, 1), "an adapter folder becomes a file");
    MUST_FAIL(try_convert(here("rs"), here("x.gguf"), "f16", NULL, 1), "factors of an adapter stay");
    convert_end();
}
END_TEST

TESTS(convert, gguf_written_is_gguf_read, put_values_are_found, gguf_writer_refuses,
      a_full_disk_loses_nothing, shards_come_back, narrow_types_are_widened, folder_to_file_and_back,
      norms_of_heads_come_along, file_to_folder_and_back, what_has_no_place_is_refused, tokenizers_go_along, adapters_come_back,
      other_scales_are_kept)
