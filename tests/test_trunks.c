/* trunks: what the golden trunks do not show of gpt2, bert, roberta, distilbert, t5 and vit: caches, limits, names
 * in files, heads, packing, two streams, images, and adapters on turned weights and tuned heads. Numbers are the
 * golden folders' task. */
#include "tests/helpers.h"
#include "tests/with_trunk.h"

#include "core/file.h"
#include "core/json.h"
#include "core/patches.h"
#include "core/rng.h"
#include "data/pack.h"
#include "recipes/commands.h"
#include "recipes/decoder.h"

#include <math.h>
#include <stdlib.h>

#define GPT2(more)                                                                                 \
    "{\"model_type\": \"gpt2\", \"n_embd\": 24, \"n_layer\": 2, \"n_head\": 3, \"vocab_size\": 60, "   \
    "\"n_inner\": 40, \"n_positions\": 70, \"initializer_range\": 0.3" more "}"
#define ENCODER(type, architecture, more)                                                          \
    "{\"model_type\": \"" type "\", \"architectures\": [\"" architecture "\"], \"hidden_size\": 24, "  \
    "\"intermediate_size\": 40, \"num_hidden_layers\": 2, \"num_attention_heads\": 3, "            \
    "\"vocab_size\": 60, \"max_position_embeddings\": 20, \"type_vocab_size\": 2, "                \
    "\"initializer_range\": 0.3" more "}"

#define T5(architecture, more)                                                                     \
    "{\"model_type\": \"t5\", \"architectures\": [\"" architecture "\"], \"d_model\": 24, \"d_kv\": 6, "  \
    "\"d_ff\": 40, \"num_heads\": 3, \"num_layers\": 2, \"num_decoder_layers\": 3, \"vocab_size\": 60, " \
    "\"decoder_start_token_id\": 4, \"pad_token_id\": 2, \"initializer_range\": 0.3" more "}"
#define VIT(architecture, more)                                                                    \
    "{\"model_type\": \"vit\", \"architectures\": [\"" architecture "\"], \"hidden_size\": 24, "          \
    "\"intermediate_size\": 40, \"num_hidden_layers\": 2, \"num_attention_heads\": 3, \"image_size\": 8, " \
    "\"num_channels\": 2, \"initializer_range\": 0.3" more "}"

static const char two[] = "[{\"ids\": [7, 3, 59, 12, 5], \"token_type_ids\": [0, 0, 1, 1, 1], \"label\": 1}, "
                          "{\"ids\": [9, 8, 7, 6, 5, 4, 3, 2], \"label\": 0}]";
static const char two_plain[] = "[{\"ids\": [7, 3, 59, 12, 5]}, {\"ids\": [9, 8, 7, 6, 5, 4, 3, 2]}]";

static status trace_text(small *s, const char *text, const trace_options *o, trace_result *r)
{
    cJSON       *sequences = cJSON_Parse(text);
    const status done = trace_run(&s->memory, &s->m, s->p, sequences, "test", o, r);

    cJSON_Delete(sequences);
    return done;
}

static const tensor *item(const trace_result *r, const char *name)
{
    for (int i = 0; i < r->n; i++)
        if (strcmp(r->items[i].name, name) == 0)
            return &r->items[i].t;
    ck_abort_msg("%s was not traced", name);
    return NULL;
}

/* Largest difference over the largest value. */
static double distance(const tensor *a, const tensor *b)
{
    const float *x = a->v, *y = b->v;
    double       most = 0, size = 0;

    ck_assert_int_eq(shape_count(a->s), shape_count(b->s));
    for (int64_t i = 0; i < shape_count(a->s); i++) {
        most = fmax(most, fabs((double)x[i] - (double)y[i]));
        size = fmax(size, fabs((double)x[i]));
    }
    ck_assert(size > 0);
    return most / size;
}

/* ---- generating -------------------------------------------------------------------------------------------- */

/* The index of the largest of the logits of a row. */
static int32_t best_of(const tensor *logits, int64_t row)
{
    const int64_t V = shape_last(logits->s);
    const float  *v = (const float *)logits->v + row * V;
    int32_t       best = 0;

    for (int64_t i = 1; i < V; i++)
        best = v[i] > v[best] ? (int32_t)i : best;
    return best;
}

/* A cache with learned positions: every token is the best of the whole sequence before it. Across a page. */
START_TEST(generated_tokens_are_those_of_the_whole_sequence)
{
    static const int32_t first[] = {7, 3, 59}, second[] = {11, 4, 5, 6, 20, 33, 2};
    const prompt         prompts[] = {{first, 3, 0}, {second, 7, 0}};
    enum { NEW = 36 };
    small        s;
    decoded      out[2];
    decode_times times;

    small_open_as(&s, GPT2(", \"scale_attn_by_inverse_layer_idx\": true"), 5);
    MUST(decode(&s.memory, &s.m, prompts, 2, &(decode_options){.max_tokens = NEW}, out, &times));
    for (int p = 0; p < 2; p++) {
        trace_result r;
        char         text[1024] = "[{\"ids\": [";
        ck_assert_int_eq(out[p].n, NEW);
        for (int64_t i = 0; i < prompts[p].n + NEW; i++)
            snprintf(text + strlen(text), sizeof text - strlen(text), "%s%d", i ? ", " : "",
                     i < prompts[p].n ? prompts[p].ids[i] : out[p].ids[i - prompts[p].n]);
        strcat(text, "]}]");
        MUST(trace_text(&s, text, &(trace_options){0}, &r));
        ck_assert_msg(out[p].margin > 1e-4, "the choice is no choice: other weights are wanted");
        for (int64_t i = 0; i < NEW; i++)
            ck_assert_int_eq(out[p].ids[i], best_of(item(&r, "seq0.logits"), prompts[p].n - 1 + i));
    }
    small_close(&s);
}
END_TEST

START_TEST(what_is_too_long_or_writes_nothing_is_refused)
{
    static const int32_t ids[] = {7, 3, 59};
    const prompt         one = {ids, 3, 0};
    const decode_options o = {.max_tokens = 68}, few = {.max_tokens = 2};
    small                s;
    decoded              out;
    decode_times         times;
    trace_result         r;

    small_open_as(&s, GPT2(""), 5);
    MUST_FAIL(decode(&s.memory, &s.m, &one, 1, &o, &out, &times), "more than the model's 70 positions");
    small_close(&s);
    small_open_as(&s, ENCODER("roberta", "RobertaForMaskedLM", ""), 5);
    MUST_FAIL(decode(&s.memory, &s.m, &one, 1, &few, &out, &times),
              "a roberta model with the head masked_lm writes no text");
    small_close(&s);
    small_open_as(&s, T5("T5Model", ""), 5);
    MUST_FAIL(decode(&s.memory, &s.m, &one, 1, &few, &out, &times),
              "a t5 model with the head none writes no text");
    small_close(&s);
    small_open_as(&s, ENCODER("roberta", "RobertaForMaskedLM", ""), 5);
    ck_assert_int_eq(s.m.positions, 18); /* two places lie before the first token's */
    MUST(trace_text(&s, "[{\"ids\": [2,2,2,2,2,2,2,2,2,2,2,2,2,2,2,2,2,2]}]", &(trace_options){0}, &r));
    MUST_FAIL(trace_text(&s, "[{\"ids\": [2,2,2,2,2,2,2,2,2,2,2,2,2,2,2,2,2,2,2]}]", &(trace_options){0}, &r),
              "a sequence of 19 tokens is longer than the model's 18 positions");
    MUST_FAIL(trace_text(&s, "[{\"ids\": [2], \"token_type_ids\": [2]}]", &(trace_options){0}, &r),
              "token_type_ids of a sequence must be 0..1");
    small_close(&s);
}
END_TEST

static status open_config(const char *json)
{
    arena   a;
    weights w = {.path = "small", .random = true, .config = cJSON_Parse(json)};
    model   m;

    ck_assert_ptr_nonnull(w.config);
    MUST(arena_open(&a, "test", (size_t)1 << 28));
    const status s = model_open(&a, &w, TYPE_F32, &m);
    weights_close(&w);
    arena_close(&a);
    return s;
}

START_TEST(what_is_not_handled_is_said)
{
    MUST_FAIL(open_config(ENCODER("bert", "BertForNextSentencePrediction", "")),
              "'BertForNextSentencePrediction', must be one with a head of these: none, masked_lm, classify, tag");
    MUST_FAIL(open_config(ENCODER("bert", "BertModel", ", \"hidden_act\": \"mish\"")), "the activation is 'mish'");
    MUST_FAIL(open_config(ENCODER("bert", "BertModel", ", \"position_embedding_type\": \"relative_key\"")),
              "must be absolute");
    MUST_FAIL(open_config(ENCODER("bert", "BertModel", ", \"is_decoder\": true")), "only encoders");
    MUST_FAIL(open_config(ENCODER("roberta", "RobertaModel", ", \"pad_token_id\": 19")), "leave none for tokens");
    MUST_FAIL(open_config(GPT2(", \"add_cross_attention\": true")), "decoder of another model");
    MUST_FAIL(open_config(T5("T5Model", ", \"relative_attention_max_distance\": 16")), "more than half of it");
    MUST_FAIL(open_config(T5("T5Model", ", \"feed_forward_proj\": \"gated-mish\"")), "the activation is 'mish'");
    MUST_FAIL(open_config(VIT("ViTModel", ", \"patch_size\": 3")), "are not whole patches");
    MUST_FAIL(open_config(VIT("ViTModel", ", \"patch_size\": [4, 4, 4]")), "or two of them");
}
END_TEST

/* ---- names in files -------------------------------------------------------------------------------------------- */

typedef struct renaming {
    bool drop, add;   /* the prefix */
    bool old_endings; /* of norms */
} renaming;

static int by_name(const void *a, const void *b)
{
    return strcmp(((const weight *)a)->name, ((const weight *)b)->name);
}

/* The tensors of an opened trunk under other names, as a file would have them. */
static weights renamed(small *s, const char *json, const char *prefix, renaming how)
{
    weights w = {.path = "renamed", .config = cJSON_Parse(json)};

    w.w = arena_take(&s->memory, 200, sizeof *w.w);

    for (int i = 0; i < s->m.n_tensors; i++) {
        const char  *name = s->m.tensors[i].name;
        const size_t n = strlen(prefix);
        const bool   has = strncmp(name, prefix, n) == 0;
        char         text[256];
        snprintf(text, sizeof text, "%s%s", how.add && !has ? prefix : "", how.drop && has ? name + n : name);
        char *dot = strrchr(text, '.');
        if (how.old_endings && strstr(text, "LayerNorm"))
            strcpy(dot, strcmp(dot, ".weight") == 0 ? ".gamma" : ".beta");
        w.w[w.n++] = (weight){.name = arena_string(&s->memory, text, strlen(text)), .t = s->m.tensors[i].value};
    }
    qsort(w.w, (size_t)w.n, sizeof *w.w, by_name);
    return w;
}

static void check_renamed(const char *made_as, const char *read_as, const char *prefix, renaming how)
{
    small        s, t = {0};
    trace_result a, b;
    const trace_options hidden = {.hidden = true};

    small_open_as(&s, made_as, 5);
    MUST(trace_text(&s, two, &hidden, &a));
    t.w = renamed(&s, read_as, prefix, how);
    MUST(arena_open(&t.memory, "renamed", (size_t)1 << 28));
    MUST(arena_open(&t.tuned, "tuned", (size_t)1 << 20));
    MUST(model_open(&t.memory, &t.w, TYPE_F32, &t.m));
    MUST(peft_open(&t.memory, &t.m, 0, &t.p));
    MUST(trace_text(&t, two, &hidden, &b));
    ck_assert(distance(item(&a, "seq1.hidden.2"), item(&b, "seq1.hidden.2")) == 0);
    cJSON_Delete(t.w.config);
    arena_close(&t.memory);
    arena_close(&t.tuned);
    small_close(&s);
}

START_TEST(names_with_and_without_prefix_and_old_endings_are_found)
{
    static const char masked[] = ENCODER("bert", "BertForMaskedLM", ""), bare[] = ENCODER("bert", "BertModel", "");

    check_renamed(masked, masked, "bert.", (renaming){.old_endings = true});
    check_renamed(masked, masked, "bert.", (renaming){.drop = true});
    check_renamed(masked, bare, "bert.", (renaming){0});
    check_renamed(bare, bare, "bert.", (renaming){.add = true, .old_endings = true});
}
END_TEST

/* Tied, the bias under its own name is the one; apart, the one beside the weight. */
START_TEST(the_bias_of_a_masked_head_is_the_one_in_use)
{
    static const char *const names[] = {"cls.predictions.bias", "cls.predictions.decoder.bias"};

    for (int tied = 0; tied < 2; tied++) {
        static const char *const configs[] = {
            ENCODER("bert", "BertForMaskedLM", ", \"tie_word_embeddings\": false"),
            ENCODER("bert", "BertForMaskedLM", "")};
        small   s;
        model   m;
        float   zeros[60] = {0};
        small_open_as(&s, configs[tied], 5);
        weights w = renamed(&s, configs[tied], "bert.", (renaming){0});
        for (int i = 0; i < 2; i++)
            if (!weights_find(&w, names[i]))
                w.w[w.n] = (weight){.name = names[i], .t = {.s = shape_1(60), .type = TYPE_F32, .v = zeros}}, w.n++;
        qsort(w.w, (size_t)w.n, sizeof *w.w, by_name);
        MUST(model_open(&s.memory, &w, TYPE_F32, &m));
        ck_assert_str_eq(m.head.out->bias->name, names[!tied]);
        ck_assert_int_eq(m.head.tied, tied);
        cJSON_Delete(w.config);
        small_close(&s);
    }
}
END_TEST

/* ---- sequences ------------------------------------------------------------------------------------------------- */

/* An encoder's token sees the whole of its own sequence and nothing of another. */
START_TEST(packed_sequences_do_not_see_each_other)
{
    static const char *const configs[] = {
        ENCODER("bert", "BertForTokenClassification", ""), ENCODER("xlm-roberta", "XLMRobertaForMaskedLM", "")};

    for (size_t i = 0; i < COUNT_OF(configs); i++) {
        small        s;
        trace_result both, alone, other;
        small_open_as(&s, configs[i], 5);
        MUST(trace_text(&s, two_plain, &(trace_options){0}, &both));
        MUST(trace_text(&s, "[{\"ids\": [9, 8, 7, 6, 5, 4, 3, 2]}]", &(trace_options){0}, &alone));
        MUST(trace_text(&s, "[{\"ids\": [9, 8, 7, 6, 5, 4, 3, 1]}]", &(trace_options){0}, &other));
        ck_assert(distance(item(&both, "seq1.logits"), item(&alone, "seq0.logits")) < 1e-5); /* roundings */
        const shape  row = shape_1(shape_last(item(&alone, "seq0.logits")->s));
        const tensor first = {.s = row, .v = item(&alone, "seq0.logits")->v};
        const tensor changed = {.s = row, .v = item(&other, "seq0.logits")->v};
        ck_assert_msg(distance(&first, &changed) > 1e-4, "the first token does not see the last");
        small_close(&s);
    }
}
END_TEST

/* ---- two streams, images ------------------------------------------------------------------------------------- */

static void first_row(const trace_result *r, const char *name, tensor *out)
{
    *out = *item(r, name);
    out->s = shape_1(shape_last(out->s));
}

/* The decoder's first token sees the encoder's last one, and nothing behind itself or of another sequence. */
START_TEST(a_decoder_sees_its_own_source_and_what_is_before_it)
{
    static const char one[] = "[{\"ids\": [9, 8, 7, 6, 5], \"labels\": [30, 31, 32]}]",
                      both[] = "[{\"ids\": [7, 3, 59, 12, 5, 8, 1], \"labels\": [8]}, "
                               "{\"ids\": [9, 8, 7, 6, 5], \"labels\": [30, 31, 32]}]",
                      given[] = "[{\"ids\": [9, 8, 7, 6, 5], \"decoder_ids\": [4, 30, 31]}]",
                      source[] = "[{\"ids\": [9, 8, 7, 6, 4], \"labels\": [30, 31, 32]}]",
                      later[] = "[{\"ids\": [9, 8, 7, 6, 5], \"decoder_ids\": [4, 33, 34]}]",
                      gap[] = "[{\"ids\": [9, 8, 7, 6, 5], \"labels\": [-100, 31, 32]}]",
                      filled[] = "[{\"ids\": [9, 8, 7, 6, 5], \"decoder_ids\": [4, 2, 31]}]";
    const char *const texts[] = {one, both, given, source, later, gap, filled};
    trace_result      r[COUNT_OF(texts)];
    tensor            a, b;
    small             s;

    small_open_as(&s, T5("T5ForConditionalGeneration", ""), 5);
    for (size_t i = 0; i < COUNT_OF(texts); i++)
        MUST(trace_text(&s, texts[i], &(trace_options){.hidden = true}, &r[i]));
    const tensor *alone = item(&r[0], "seq0.logits");
    ck_assert(distance(alone, item(&r[1], "seq1.logits")) < 1e-5); /* roundings */
    ck_assert(distance(alone, item(&r[2], "seq0.logits")) == 0);
    ck_assert(distance(item(&r[5], "seq0.logits"), item(&r[6], "seq0.logits")) == 0);
    ck_assert_int_eq(r[0].targets, 3);
    ck_assert_int_eq(r[5].targets, 2);
    first_row(&r[0], "seq0.logits", &a);
    first_row(&r[3], "seq0.logits", &b);
    ck_assert_msg(distance(&a, &b) > 1e-4, "the source's last token is not seen");
    first_row(&r[4], "seq0.logits", &b);
    ck_assert_msg(distance(&a, &b) == 0, "a later token is seen");
    ck_assert(distance(item(&r[0], "seq0.encoder.hidden.norm"), item(&r[1], "seq1.encoder.hidden.norm")) < 1e-5);
    ck_assert_int_eq(item(&r[0], "seq0.encoder.hidden.0")->s.d[0], 5);
    ck_assert_int_eq(item(&r[0], "seq0.decoder.hidden.3")->s.d[0], 3);
    MUST_FAIL(trace_text(&s, "[{\"ids\": [9, 8]}]", &(trace_options){0}, &r[0]), "neither decoder_ids nor labels");
    small_close(&s);
}
END_TEST

/* Dropout takes the names of the rows that a site reads: in cross attention the source's for keys and values. */
START_TEST(adapters_sit_in_cross_attention)
{
    static const char        text[] = "[{\"ids\": [9, 8, 7, 6, 5, 8, 3], \"labels\": [30, 31, 32]}]";
    static const char *const names[] = {"dropout", NULL};
    static const double      values[] = {0.1};
    small                    s;
    trace_result             bare, tuned;

    small_open_as(&s, T5("T5ForConditionalGeneration", ", \"feed_forward_proj\": \"gated-gelu\""), 5);
    MUST(trace_text(&s, text, &(trace_options){0}, &bare));
    small_add(&s, "lora", "decoder.block.*.cross.k", names, values);
    ck_assert_int_eq(s.p->modules[0].n_sites, 3);
    small_stir(&s, 3);
    MUST(trace_text(&s, text, &(trace_options){0}, &tuned));
    ck_assert(distance(item(&bare, "seq0.logits"), item(&tuned, "seq0.logits")) > 1e-4);
    small_close(&s);
}
END_TEST

static tensor noise_image(small *s, uint32_t stream, int64_t height, int64_t width)
{
    const shape size = shape_3(2, height, width);
    float      *v = arena_take(&s->memory, (size_t)shape_count(size), sizeof *v);

    rng_fill_normal(rng_key_for(11, "pixels"), stream, 1, v, shape_count(size));
    return (tensor){.s = size, .type = TYPE_F32, .v = v};
}

/* Patches row by row: an oblong image and the same one with its halves exchanged give other patches. */
START_TEST(images_are_patches_in_their_order)
{
    const patch_grid g = {2, 4, 6, 2, 3};
    float            pixels[48], out[48];

    for (int i = 0; i < 48; i++)
        pixels[i] = (float)i;
    patches_cut(&g, pixels, out);
    ck_assert_int_eq(patches_count(&g), 4);
    ck_assert_int_eq(patches_values(&g), 12);
    static const float second[] = {3, 4, 5, 9, 10, 11, 27, 28, 29, 33, 34, 35};
    ck_assert_mem_eq(out + 12, second, sizeof second);
}
END_TEST

START_TEST(packed_images_do_not_see_each_other)
{
    small        s;
    trace_result both, alone;

    small_open_as(&s, VIT("ViTForImageClassification", ", \"patch_size\": [4, 2]"), 5);
    ck_assert_int_eq(s.m.positions, 9);
    const tensor pixels[] = {noise_image(&s, 0, 8, 8), noise_image(&s, 1, 8, 8)}, wrong = noise_image(&s, 0, 8, 6);
    MUST(trace_text(&s, "[{\"label\": 1}, {\"label\": 0}]", &(trace_options){.pixels = pixels}, &both));
    MUST(trace_text(&s, "[{\"label\": 0}]", &(trace_options){.pixels = &pixels[1]}, &alone));
    ck_assert(distance(item(&both, "seq1.logits"), item(&alone, "seq0.logits")) < 1e-5); /* roundings */
    ck_assert(distance(item(&both, "seq0.logits"), item(&alone, "seq0.logits")) > 1e-3);
    ck_assert_int_eq(both.targets, 2);
    MUST_FAIL(trace_text(&s, "[{\"label\": 1}]", &(trace_options){.pixels = &wrong}, &both), "[2, 8, 8]");
    MUST_FAIL(trace_text(&s, "[{\"label\": 1}]", &(trace_options){0}, &both), "absent");
    small_close(&s);
}
END_TEST

START_TEST(a_batch_is_full_when_its_source_is)
{
    static const int32_t ids[] = {5, 1, 6, 7};
    const example        e = {.n = 2, .ids = ids, .n_source = 4, .source = ids, .label = -1};
    arena                a;
    batch                b;

    MUST(arena_open(&a, "test", (size_t)1 << 20));
    MUST(batch_open(&a, 20, 5, &b));
    MUST(batch_open_source(&a, 9, &b));
    ck_assert(batch_add(&b, &e, 0, 0) && batch_add(&b, &e, 1, 1));
    ck_assert(!batch_add(&b, &e, 2, 2));
    static const int32_t positions[] = {0, 1, 2, 3, 0, 1, 2, 3}, offsets[] = {0, 4, 8};
    ck_assert_mem_eq(b.source.positions, positions, sizeof positions);
    ck_assert_mem_eq(b.source.offsets, offsets, sizeof offsets);
    ck_assert_int_eq(b.n_seqs, 2);
    batch_clear(&b);
    ck_assert(batch_add(&b, &e, 2, 2));
    arena_close(&a);
}
END_TEST

/* transformers' rule: tokens of padding have its position and are not counted. */
START_TEST(positions_begin_where_the_model_says)
{
    static const int32_t ids[] = {5, 1, 6, 7}, types[] = {0, 1, 1, 0}, labels[] = {4, -100, -100, 3};
    const example        e = {.n = 4, .ids = ids, .types = types, .labels = labels, .label = 2};
    arena                a;
    batch                b;

    MUST(arena_open(&a, "test", (size_t)1 << 20));
    MUST(batch_open(&a, 20, 5, &b));
    ck_assert(batch_add(&b, &e, 0, 0)); /* the next token: the first is never a target */
    b.first_position = 2;
    b.pad = 1;
    b.place = TARGET_HERE;
    ck_assert(batch_add(&b, &e, 1, 1));
    b.place = TARGET_SEQUENCE;
    ck_assert(batch_add(&b, &e, 2, 2));
    static const int32_t positions[] = {0, 1, 2, 3, 2, 1, 3, 4};
    static const int32_t rows[] = {2, 4, 7, 8}, targets[] = {3, 4, 3, 2};
    ck_assert_mem_eq(b.positions, positions, sizeof positions);
    ck_assert_mem_eq(b.types + 4, types, sizeof types);
    ck_assert_int_eq(b.n_targets, 4);
    ck_assert_mem_eq(b.target_rows, rows, sizeof rows);
    ck_assert_mem_eq(b.target_ids, targets, sizeof targets);
    for (int place = TARGET_NEXT; place <= TARGET_SEQUENCE; place++)
        ck_assert_int_eq(example_targets(&e, (target_place)place), place == TARGET_HERE ? 2 : 1);
    arena_close(&a);
}
END_TEST

/* ---- adapters ----------------------------------------------------------------------------------------------------- */

static int count_linear(const char *json)
{
    small s;
    int   n = 0;

    small_open_as(&s, json, 1);
    for (int i = 0; i < s.m.n_sites; i++)
        n += s.m.sites[i].kind == SITE_LINEAR;
    small_close(&s);
    return n;
}

/* PEFT's: all but the output and the classifier; a pooler is one of them. */
START_TEST(all_linear_leaves_the_last_product_out)
{
    ck_assert_int_eq(count_linear(GPT2("")), 2 * 4);
    ck_assert_int_eq(count_linear(ENCODER("bert", "BertForMaskedLM", "")), 2 * 6 + 1);
    ck_assert_int_eq(count_linear(ENCODER("bert", "BertForSequenceClassification", "")), 2 * 6 + 1);
    ck_assert_int_eq(count_linear(ENCODER("roberta", "RobertaForSequenceClassification", "")), 2 * 6);
    ck_assert_int_eq(count_linear(ENCODER("roberta", "RobertaForTokenClassification", "")), 2 * 6);
    ck_assert_int_eq(count_linear(T5("T5ForConditionalGeneration", "")), 2 * 6 + 3 * 10);
    ck_assert_int_eq(count_linear(VIT("ViTForImageClassification", ", \"patch_size\": 4")), 2 * 6);
}
END_TEST

/* What is written for a trunk of turned weights says so, and merged it lies as the trunk did. */
START_TEST(merged_gpt2_is_the_unmerged_one)
{
    char         folder[64], config[128], adapter[128], merged[128];
    small        s, t = {0};
    trace_result a, b;
    cJSON       *json;

    test_folder(folder);
    snprintf(config, sizeof config, "%s/config.json", folder);
    snprintf(adapter, sizeof adapter, "%s/adapter", folder);
    snprintf(merged, sizeof merged, "%s/merged", folder);
    MUST(file_replace(config, GPT2(""), strlen(GPT2(""))));
    MUST(folder_make(adapter));
    small_open_as(&s, GPT2(""), 0);
    small_add(&s, "lora", "all-linear", NULL, NULL);
    small_stir(&s, 3);
    MUST(trace_text(&s, two_plain, &(trace_options){0}, &a));
    MUST(adapter_save(s.p, 0, adapter, &(adapter_info){.base = "small"}));
    MUST(json_read(arena_printf(&s.memory, "%s/adapter_config.json", adapter), &json));
    ck_assert(cJSON_IsTrue(cJSON_GetObjectItem(json, "fan_in_fan_out")));
    cJSON_Delete(json);

    FILE *nowhere = fopen("/dev/null", "w");
    MUST(command_merge(arena_printf(&s.memory, "random:%s", config), adapter, merged, NULL, -1, true, nowhere));
    fclose(nowhere);
    MUST(arena_open(&t.memory, "merged", (size_t)1 << 28));
    MUST(weights_open(&t.memory, merged, &t.w));
    ck_assert(shape_equal(weights_find(&t.w, "transformer.h.1.attn.c_attn.weight")->t.s, shape_2(24, 72)));
    MUST(model_open(&t.memory, &t.w, TYPE_F32, &t.m));
    MUST(peft_open(&t.memory, &t.m, 0, &t.p));
    MUST(trace_text(&t, two_plain, &(trace_options){0}, &b));
    ck_assert(distance(item(&a, "seq1.logits"), item(&b, "seq1.logits")) < 1e-5); /* roundings of 24 columns */
    weights_close(&t.w);
    arena_close(&t.memory);
    small_close(&s);
    MUST(folder_remove_tree(folder));
}
END_TEST

/* A classifier tuned as a whole goes into the file under its own name, and comes back. */
START_TEST(a_whole_head_is_tuned_and_saved)
{
    static const char        json[] = ENCODER("roberta", "RobertaForSequenceClassification", "");
    static const char *const whole[] = {"classifier", "score"}, *const wrong[] = {"no_such_module"};
    const adapter_info       info = {.base = "small"};
    char                     folder[64];
    small                    s, t;
    trace_result             bare, a, b;

    small_open_as(&s, json, 5);
    MUST(trace_text(&s, two, &(trace_options){0}, &bare));
    small_add(&s, "lora", "query", NULL, NULL);
    const int n = s.p->n_tuned;
    MUST(peft_tune_whole(s.p, 0, whole, 2, false));
    ck_assert_int_eq(s.p->n_tuned, n + 4);
    MUST(peft_allocate(s.p, &s.tuned));
    MUST(trace_text(&s, two, &(trace_options){0}, &a));
    ck_assert(distance(item(&bare, "seq1.logits"), item(&a, "seq1.logits")) == 0); /* a copy, to begin with */
    small_stir(&s, 3);
    MUST(trace_text(&s, two, &(trace_options){0}, &a));
    ck_assert(distance(item(&bare, "seq1.logits"), item(&a, "seq1.logits")) > 1e-2);
    test_folder(folder);
    MUST(adapter_save(s.p, 0, folder, &info));

    small_open_as(&t, json, 5);
    MUST(adapter_add(t.p, folder, "main", true));
    MUST(peft_allocate(t.p, &t.tuned));
    MUST(adapter_load(t.p, 0, folder, &info));
    MUST(trace_text(&t, two, &(trace_options){0}, &b));
    ck_assert(distance(item(&a, "seq1.logits"), item(&b, "seq1.logits")) == 0);
    MUST_FAIL(peft_tune_whole(t.p, 0, wrong, 1, false), "'no_such_module' is no part of this roberta model");
    small_close(&t);
    small_close(&s);
    MUST(folder_remove_tree(folder));
}
END_TEST

TESTS(trunks, generated_tokens_are_those_of_the_whole_sequence, what_is_too_long_or_writes_nothing_is_refused,
      what_is_not_handled_is_said, names_with_and_without_prefix_and_old_endings_are_found,
      the_bias_of_a_masked_head_is_the_one_in_use, packed_sequences_do_not_see_each_other,
      a_decoder_sees_its_own_source_and_what_is_before_it, adapters_sit_in_cross_attention,
      images_are_patches_in_their_order, packed_images_do_not_see_each_other, a_batch_is_full_when_its_source_is,
      positions_begin_where_the_model_says, all_linear_leaves_the_last_product_out, merged_gpt2_is_the_unmerged_one,
      a_whole_head_is_tuned_and_saved)
