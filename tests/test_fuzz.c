/* fuzz: each reader of files against inputs that are almost right (tests/fuzz). Ten seconds together, ten
 * minutes each with --slow; CAMBIUM_FUZZ_SECONDS sets another time. tests/run: no device, timeout 900 */
#include "tests/fuzz/fuzz.h"
#include "tests/helpers.h"
#include "tests/with_golden_hostile.h"

#include "core/file.h"
#include "core/gguf_write.h"
#include "core/json.h"
#include "core/log.h"
#include "core/safetensors.h"
#include "data/tokenizer.h"
#include "recipes/recipe.h"
#include "recipes/registry.h"

static double seconds(void)
{
    const char *given = getenv("CAMBIUM_FUZZ_SECONDS");

    return given ? atof(given) : getenv("CAMBIUM_SLOW") ? 600 : 10.0 / 6;
}

static void add_seed(fuzz_pool *p, const char *name)
{
    char path[512];

    snprintf(path, sizeof path, "%s/%s", SOURCE_FOLDER, name);
    fuzz_add_file(p, path);
}

/* ---- GGUF ---------------------------------------------------------------------------------------- */

static status read_gguf(arena *a, const char *path)
{
    return hostile_gguf(a, path);
}

/* A trunk of one block and its tokenizer. */
static status read_model(arena *a, const char *path)
{
    tokenizer *t;
    token_list ids;

    TRY(hostile_trunk(a, path));
    TRY(tokenizer_open(a, path, &t));
    const status s = tokenizer_encode(t, a, "ab c\xc3\xa9 12", 8, true, &ids);
    tokenizer_close(t);
    return s;
}

/* Values of every kind, and tensors of several types. */
static void write_kinds(arena *a, const char *path)
{
    static const uint8_t  zeros[512];
    static const uint8_t inner[] = {5, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0}; /* an array of one i32 */
    const gguf_value     nested = {
        .kind = GGUF_ARRAY, .of = GGUF_ARRAY, .n = 1, .v = inner, .bytes = sizeof inner};
    const gguf_text       texts[] = {{"one", 3}, {"", 0}};
    gguf_meta             m = {.a = a};
    static const gguf_item items[] = {
        {"f", {.s = {.n = 2, .d = {2, 3}}, .type = TYPE_F32, .v = (void *)(uintptr_t)zeros}},
        {"q", {.s = {.n = 1, .d = {64}}, .type = TYPE_Q8_0, .v = (void *)(uintptr_t)zeros}},
        {"k", {.s = {.n = 2, .d = {1, 256}}, .type = TYPE_Q4_K, .v = (void *)(uintptr_t)zeros}}};

    for (gguf_kind kind = GGUF_U8; kind < GGUF_KINDS; kind++) {
        char key[16];
        snprintf(key, sizeof key, "kind.%d", kind);
        if (gguf_kind_bytes(kind)) {
            gguf_put_plain(&m, key, kind, zeros);
            key[0] = 'l';
            gguf_put_array(&m, key, kind, zeros, 2);
        }
    }
    gguf_put_u32(&m, "general.alignment", 64);
    gguf_put_string(&m, "text", "abc");
    gguf_put_texts(&m, "texts", texts, 2);
    gguf_put(&m, "nested", &nested);
    MUST(gguf_write(path, &m, items, 3, NULL));
}

/* A llama of width 8, two heads on one, five words. */
static void write_model(arena *a, const char *path)
{
    static const float    v[128];
    const gguf_text tokens[] = {{"a", 1}, {"b", 1}, {"c", 1}, {"ab", 2}, {"<s>", 3}}, merges[] = {{"a b", 3}};
    static const int32_t  types[] = {1, 1, 1, 1, 3};
    static const uint32_t numbers[] = {1, 64, 8, 16, 2, 1};
    static const char *const keys[] = {"llama.block_count",         "llama.context_length",
                                       "llama.embedding_length",    "llama.feed_forward_length",
                                       "llama.attention.head_count", "llama.attention.head_count_kv"};
    static const struct {
        const char *name;
        int64_t     rows, columns;
    } list[] = {
        {"token_embd.weight", 5, 8},        {"output_norm.weight", 0, 8},    {"blk.0.attn_norm.weight", 0, 8},
        {"blk.0.attn_q.weight", 8, 8},      {"blk.0.attn_k.weight", 4, 8},   {"blk.0.attn_v.weight", 4, 8},
        {"blk.0.attn_output.weight", 8, 8}, {"blk.0.ffn_norm.weight", 0, 8}, {"blk.0.ffn_gate.weight", 16, 8},
        {"blk.0.ffn_up.weight", 16, 8},     {"blk.0.ffn_down.weight", 8, 16}};
    gguf_item items[COUNT_OF(list)];
    gguf_meta m = {.a = a};

    gguf_put_string(&m, "general.architecture", "llama");
    for (size_t i = 0; i < COUNT_OF(keys); i++)
        gguf_put_u32(&m, keys[i], numbers[i]);
    gguf_put_f32(&m, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    gguf_put_f32(&m, "llama.rope.freq_base", 10000);
    gguf_put_string(&m, "tokenizer.ggml.model", "gpt2");
    gguf_put_string(&m, "tokenizer.ggml.pre", "smollm");
    gguf_put_texts(&m, "tokenizer.ggml.tokens", tokens, COUNT_OF(tokens));
    gguf_put_texts(&m, "tokenizer.ggml.merges", merges, COUNT_OF(merges));
    gguf_put_array(&m, "tokenizer.ggml.token_type", GGUF_I32, types, COUNT_OF(types));
    gguf_put_u32(&m, "tokenizer.ggml.bos_token_id", 4);
    gguf_put_bool(&m, "tokenizer.ggml.add_bos_token", true);
    for (size_t i = 0; i < COUNT_OF(list); i++)
        items[i] = (gguf_item){
            list[i].name,
            {.s = list[i].rows ? shape_2(list[i].rows, list[i].columns) : shape_1(list[i].columns),
             .type = TYPE_F32,
             .v = (void *)(uintptr_t)v}};
    MUST(gguf_write(path, &m, items, COUNT_OF(items), NULL));
}

static const char *const gguf_words[] = {"GGUF",
                                         "general.alignment",
                                         "general.architecture",
                                         "llama",
                                         "qwen2",
                                         "mistral",
                                         "blk.0.attn_q.bias",
                                         "rope_freqs.weight",
                                         "tokenizer.ggml.pre",
                                         "llama-bpe",
                                         "\x09\0\0\0",
                                         "\x08\0\0\0",
                                         NULL};

static void add_made(fuzz_pool *p, void (*write)(arena *a, const char *path))
{
    arena a = {0};
    char  path[128];

    snprintf(path, sizeof path, "%s/made", fuzz_folder(p));
    MUST(arena_open(&a, "made", (size_t)1 << 26));
    write(&a, path);
    fuzz_add_file(p, path);
    arena_close(&a);
}

START_TEST(gguf_files)
{
    fuzz_pool *p = fuzz_open(&(fuzz_reader){"gguf", "input.gguf", read_gguf, gguf_words, (size_t)4 << 20});

    add_made(p, write_kinds);
    add_made(p, write_model);
    fuzz_run(p, seconds());
}
END_TEST

START_TEST(gguf_models)
{
    fuzz_pool *p =
        fuzz_open(&(fuzz_reader){"gguf model", "input.gguf", read_model, gguf_words, (size_t)32 << 20});

    add_made(p, write_model);
    fuzz_run(p, seconds());
}
END_TEST

/* ---- safetensors --------------------------------------------------------------------------------- */

/* As a container, then as the weights of a trunk. */
static status read_safetensors(arena *a, const char *path)
{
    char folder[256];

    TRY(hostile_safetensors(a, path));
    snprintf(folder, sizeof folder, "%.*s", (int)(strrchr(path, '/') - path), path);
    return hostile_trunk(a, folder);
}

static void write_tensors(arena *a, const char *path)
{
    static const uint8_t  zeros[256];
    void                 *v = (void *)(uintptr_t)zeros;
    const safetensors_item items[] = {{"f32", {.s = shape_2(2, 3), .type = TYPE_F32, .v = v}},
                                      {"bf16", {.s = shape_1(4), .type = TYPE_BF16, .v = v}},
                                      {"f64", {.s = shape_1(1), .type = TYPE_F64, .v = v}},
                                      {"i64", {.s = {.n = 0}, .type = TYPE_I64, .v = v}},
                                      {"u8", {.s = shape_3(1, 2, 3), .type = TYPE_U8, .v = v}},
                                      {"none", {.s = shape_1(0), .type = TYPE_F16, .v = v}}};
    const safetensors_pair pair = {"format", "pt", 0};

    (void)a;
    MUST(safetensors_write(path, items, COUNT_OF(items), &pair, 1));
}

START_TEST(safetensors_files)
{
    static const char *const words[] = {"\"dtype\"",
                                        "\"F8_E4M3\"",
                                        "\"F8_E5M2\"",
                                        "\"BOOL\"",
                                        "\"I8\"",
                                        "\"I16\"",
                                        "\"U8\"",
                                        "\"F16\"",
                                        "\"shape\":[1,1,1,1,1,1]",
                                        "\"shape\":[]",
                                        "\"data_offsets\":[0,0]",
                                        "\"__metadata__\"",
                                        "{",
                                        "}",
                                        "\\u0000",
                                        ",",
                                        NULL};
    static const char *const narrow =
        "{\"a\":{\"dtype\":\"F8_E4M3\",\"shape\":[4],\"data_offsets\":[0,4]},\"b\":{\"dtype\":\"I16\","
        "\"shape\":[2],"
        "\"data_offsets\":[4,8]},\"c\":{\"dtype\":\"BOOL\",\"shape\":[2],\"data_offsets\":[8,10]}}";
    char           raw[512] = {0};
    const uint64_t n = strlen(narrow);
    char           config[128];
    fuzz_pool     *p = fuzz_open(&(fuzz_reader){"safetensors", "model.safetensors", read_safetensors, words,
                                                (size_t)4 << 20});

    snprintf(config, sizeof config, "%s/config.json", fuzz_folder(p));
    MUST(file_replace(config, "{}", 2));
    add_made(p, write_tensors);
    memcpy(raw, &n, 8);
    memcpy(raw + 8, narrow, n);
    fuzz_add(p, raw, 8 + n + 10);
    fuzz_run(p, seconds());
}
END_TEST

/* ---- texts --------------------------------------------------------------------------------------- */

static status read_json(arena *a, const char *path)
{
    cJSON      *root;
    const char *text;
    size_t      n;

    TRY(json_read(path, &root));
    const status s = cJSON_IsString(root) ? json_text(a, root, &text, &n) : STATUS_OK;
    cJSON_Delete(root);
    return s;
}

START_TEST(json_files)
{
    static const char *const words[] = {
        "{",       "}",       "[",    "]",    "[[[[[[[[", ":",   ",",        "\"",   "\\u0000",
        "\\ud800", "\\udc00", "null", "true", "-",        "1e5", "\xc3\xa9", "\xff", "\xf0\x9f\x98\x80",
        "\"a\":1", NULL};
    fuzz_pool *p = fuzz_open(&(fuzz_reader){"json", "input.json", read_json, words, (size_t)4 << 20});

    add_seed(p, "tests/fuzz/seeds/values.json");
    add_seed(p, "tests/fuzz/seeds/tokenizer_split.json");
    fuzz_run(p, seconds());
}
END_TEST

static status read_tokenizer(arena *a, const char *path)
{
    static const char text[] = "<s>ab c <x> 12\xc3\xa9\n";
    tokenizer        *t;
    token_list        ids;
    char             *back;
    size_t            n;

    TRY(tokenizer_open(a, path, &t));
    status s = tokenizer_encode(t, a, text, sizeof text - 1, true, &ids);
    if (s == STATUS_OK)
        s = tokenizer_decode(t, a, ids.ids, ids.n, false, &back, &n);
    tokenizer_close(t);
    return s;
}

START_TEST(tokenizers)
{
    static const char *const words[] = {"\"BPE\"",
                                        "\"WordPiece\"",
                                        "\"Unigram\"",
                                        "\"NFC\"",
                                        "\"ByteLevel\"",
                                        "\"Split\"",
                                        "\"Digits\"",
                                        "\"Sequence\"",
                                        "\"Regex\"",
                                        "\"String\"",
                                        "\"Isolated\"",
                                        "\"MergedWithNext\"",
                                        "\"invert\":true",
                                        "\"merges\"",
                                        "\"vocab\"",
                                        "\"TemplateProcessing\"",
                                        "\"RobertaProcessing\"",
                                        "\"lstrip\":true",
                                        "(",
                                        ")",
                                        "(?=",
                                        "\\\\p{L}",
                                        "*",
                                        "{9,}",
                                        "null",
                                        "true",
                                        "\xc4\xa0",
                                        "a b",
                                        NULL};
    fuzz_pool               *p =
        fuzz_open(&(fuzz_reader){"tokenizer", "tokenizer.json", read_tokenizer, words, (size_t)32 << 20});

    add_seed(p, "tests/fuzz/seeds/tokenizer_split.json");
    add_seed(p, "tests/fuzz/seeds/tokenizer_byte_level.json");
    fuzz_run(p, seconds());
}
END_TEST

static status read_recipe(arena *a, const char *path)
{
    recipe *r;

    return recipe_load(a, path, &(key_texts){0}, registry(), &r);
}

START_TEST(recipes)
{
    static const char *const words[] = {"&a ",  "*a",       "<<: ",        "!!str ", "- ",       "\n  ",
                                        "\n",   ": ",       "{",           "}",      "[",        "]",
                                        "|\n",  ">-\n",     "'",           "\"",     "---\n",    "...\n",
                                        "# ",   "? ",       "%YAML 1.2\n", "from: ", "~",        "\t",
                                        "lora", "method: ", "at: ",        "rank: ", "\xc3\xa9", "1e-3",
                                        NULL};
    fuzz_pool *p = fuzz_open(&(fuzz_reader){"recipe", "input.yaml", read_recipe, words, (size_t)16 << 20});

    log_set_level(LOG_WARN);
    add_seed(p, "recipes/quickstart.yaml");
    add_seed(p, "recipes/tiny.yaml");
    add_seed(p, "tests/fuzz/seeds/blocks.yaml");
    fuzz_run(p, seconds());
}
END_TEST

TESTS(fuzz, gguf_files, gguf_models, safetensors_files, json_files, tokenizers, recipes)
