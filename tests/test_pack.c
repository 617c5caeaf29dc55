/* pack: samples of several texts, from records to micro-batches
 * tests/run: no device */
#include "core/rng.h"
#include "data/pack.h"
#include "tests/helpers.h"

static arena a, work;

static void open_arenas(void)
{
    MUST(arena_open(&a, "setup", (size_t)1 << 28));
    MUST(arena_open(&work, "work", (size_t)1 << 26));
}

static void close_arenas(void)
{
    arena_close(&a);
    arena_close(&work);
}

/* ---- micro-batches ------------------------------------------------------------------------------------ */

static const int32_t ids[] = {5, 6, 7, 8, 9, 5, 6}, labels[] = {-100, 6, 7, 8, 9, -100, 6}, ends[] = {3, 5, 7};
static const float   values[] = {0.25f};
static const example three = {.n = 7, .ids = ids, .labels = labels, .n_texts = 3, .ends = ends, .task = 2,
                              .label = -1, .values = values};
static const example one = {.n = 4, .ids = ids, .labels = labels, .label = -1, .values = values};

START_TEST(texts_become_sequences)
{
    static const int32_t texts[] = {0, 0, 1, 2};
    batch                b;

    open_arenas();
    MUST(batch_open(&a, 40, 5, &b));
    MUST(batch_open_values(&a, 1, &b));
    b.front = 2;
    b.place = TARGET_TEXTS;
    ck_assert(batch_add(&b, &(example){.n = 3, .ids = ids, .labels = labels, .label = -1, .values = values}, 4, 40));
    ck_assert(batch_add(&b, &three, 5, 50));
    ck_assert_int_eq(b.n_samples, 2);
    ck_assert_int_eq(b.n_seqs, 4);
    ck_assert_int_eq(b.n_tokens, 18);
    ck_assert_mem_eq(b.offsets, ((int32_t[]){0, 5, 10, 14, 18}), 20);
    ck_assert_mem_eq(b.positions, ((int32_t[]){0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1, 2, 3, 0, 1, 2, 3}), 72);
    ck_assert_mem_eq(b.seq_of_row, ((int32_t[]){0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3}), 72);
    ck_assert_mem_eq(b.ids + 5, ((int32_t[]){0, 0, 5, 6, 7, 0, 0, 8, 9, 0, 0, 5, 6}), 52);
    ck_assert_mem_eq(b.text, texts, sizeof texts);
    ck_assert(b.sample[1] == 5 && b.sample[3] == 5 && b.example[2] == 50 && b.task[3] == 2);
    /* labels 6 7 of the first; 6 7, 9, 6 of the texts, whose first tokens are nobody's target */
    ck_assert_int_eq(b.n_targets, 6);
    ck_assert_mem_eq(b.target_ids, ((int32_t[]){6, 7, 6, 7, 9, 6}), 24);
    ck_assert_mem_eq(b.target_rows, ((int32_t[]){2, 3, 7, 8, 12, 16}), 24);
    ck_assert_mem_eq(b.first_target, ((int32_t[]){0, 2, 4, 5, 6}), 20);
    close_arenas();
}
END_TEST

START_TEST(a_sample_fits_whole_or_not)
{
    batch b;

    open_arenas();
    MUST(batch_open(&a, 40, 4, &b));
    ck_assert(batch_add(&b, &one, 0, 0) && batch_add(&b, &one, 1, 1));
    ck_assert(!batch_add(&b, &three, 2, 2)); /* five sequences */
    ck_assert(b.n_seqs == 2 && b.n_tokens == 8 && b.n_samples == 2);
    MUST(batch_open(&a, 12, 4, &b));
    b.front = 2;
    ck_assert(!batch_add(&b, &three, 2, 2)); /* 13 rows */
    b.front = 1;
    ck_assert(batch_add(&b, &three, 2, 2));
    MUST(batch_open(&a, 40, 4, &b));
    b.place = TARGET_LAST; /* one target of all texts, in the last row */
    ck_assert(batch_add(&b, &(example){.n = 7, .ids = ids, .n_texts = 3, .ends = ends, .label = 1}, 0, 0));
    ck_assert(b.n_targets == 1 && b.target_rows[0] == 6 && b.target_ids[0] == 1);
    b.place = TARGET_SEQUENCE;
    batch_clear(&b);
    ck_assert(batch_add(&b, &(example){.n = 7, .ids = ids, .n_texts = 3, .ends = ends, .label = 1}, 0, 0));
    ck_assert(b.n_targets == 1 && b.target_rows[0] == 0);
    close_arenas();
}
END_TEST

/* ---- packing ------------------------------------------------------------------------------------------ */

/* Samples of one to three texts of 1 to 9 tokens. */
static void mixed(examples *x, int64_t n)
{
    *x = (examples){.n = n, .place = TARGET_TEXTS, .front = 1};
    x->v = arena_take(&a, (size_t)n, sizeof *x->v);
    for (int64_t i = 0; i < n; i++) {
        const rng_block r = rng_philox(rng_key_for(3, "pack"), (uint32_t)i, 0, 0, 0);
        int32_t        *where = arena_take(&a, 3, sizeof *where), *flat = arena_take(&a, 27, sizeof *flat);
        example        *e = &x->v[i];
        *e = (example){.n_texts = 1 + (int32_t)(r.r[3] % 3), .ids = flat, .labels = flat, .ends = where, .label = -1,
                       .batch = -1};
        for (int k = 0; k < e->n_texts; k++)
            where[k] = e->n += 1 + (int32_t)(r.r[k] % 9);
        for (int k = 0; k < e->n; k++)
            flat[k] = k;
    }
}

/* Every sample of `epochs` epochs comes whole, within the capacities. */
static void check_packing(const examples *x, const pack_options *o, int64_t steps, int64_t samples)
{
    uint8_t  *seen = arena_take(&a, (size_t)samples, 1);
    packer    p;
    pack_step s;
    batch     b;

    memset(seen, 0, (size_t)samples);
    MUST(packer_open(&a, x, o, &p));
    MUST(batch_open(&a, p.capacity, p.seqs_capacity, &b));
    b.front = 1;
    for (int64_t step = 0; step < steps; step++) {
        int64_t in_step = 0;
        packer_step(&p, &s);
        for (int leaf = 0; leaf < s.n_leaves; leaf++) {
            packer_fill(&p, &s, leaf, &b); /* stops where it does not fit */
            in_step += b.n_samples;
            for (int i = 0; i < b.n_seqs; i++)
                if (b.text[i] == 0) {
                    const example *e = &x->v[b.example[i]];
                    ck_assert_int_le(b.sample[i], samples - 1);
                    seen[b.sample[i]]++;
                    for (int k = 0; k < e->n_texts; k++) {
                        const int n = b.offsets[i + k + 1] - b.offsets[i + k] - 1;
                        ck_assert(b.sample[i + k] == b.sample[i] && b.text[i + k] == k);
                        ck_assert_int_eq(n, example_end(e, k) - example_begin(e, k));
                    }
                }
        }
        ck_assert_int_eq(s.n_samples, in_step);
        ck_assert_int_eq(s.n_targets, in_step);
        ck_assert(!o->batch_samples || in_step == o->batch_samples);
    }
    for (int64_t i = 0; i < samples; i++)
        ck_assert_msg(seen[i] == 1, "sample %d came %d times", (int)i, seen[i]);
}

START_TEST(texts_of_a_sample_stay_together)
{
    examples x;

    open_arenas();
    mixed(&x, 60);
    check_packing(&x, &(pack_options){.pack = 40, .batch_samples = 10, .shuffle = true, .seed = 1}, 12, 120);
    check_packing(&x, &(pack_options){.pack = 31, .batch_samples = 2, .shuffle = true, .seed = 2}, 30, 60);
    packer all;
    MUST(packer_open(&a, &x, &(pack_options){.pack = 35, .epochs = 1, .shuffle = true}, &all));
    check_packing(&x, &(pack_options){.pack = 35, .epochs = 1, .shuffle = true}, packer_count(&all, 1), 60);
    for (int i = 0; i < 60; i++) /* micro-batches that are given: of five samples */
        x.v[i].batch = i / 5;
    x.batched = true;
    check_packing(&x, &(pack_options){.epochs = 1}, 12, 60);
    close_arenas();
}
END_TEST

START_TEST(a_micro_batch_must_hold_a_sample)
{
    examples x;
    packer   p;

    open_arenas();
    x = (examples){.n = 1, .v = (example[]){three}};
    MUST_FAIL(packer_open(&a, &x, &(pack_options){.pack = 6}, &p),
              "7 tokens in all its texts, more than a micro-batch holds (pack 6): length must be at most pack divided");
    MUST(packer_open(&a, &x, &(pack_options){.pack = 7}, &p));
    ck_assert_int_eq(p.seqs_capacity, 3); /* 7 / 2, its shortest */
    MUST(packer_open(&a, &x, &(pack_options){.pack = 100, .batch_samples = 2}, &p));
    ck_assert_int_eq(p.seqs_capacity, 6);
    close_arenas();
}
END_TEST

/* ---- from records --------------------------------------------------------------------------------------- */

/* A byte is a token. */
static status encode_bytes(void *context, arena *to, const char *text, size_t n, int32_t **out, int64_t *count)
{
    (void)context;
    TRY_TAKE(*out, to, n);
    for (size_t i = 0; i < n; i++)
        (*out)[i] = (uint8_t)text[i];
    *count = (int64_t)n;
    return STATUS_OK;
}

static status encode_whole_bytes(void *context, arena *to, const whole_text *x, int64_t max, token_list *out)
{
    const size_t n = (int64_t)x->length < max ? x->length : (size_t)max;

    *out = (token_list){0};
    return encode_bytes(context, to, x->text, n, &out->ids, &out->n);
}

static const text_encoder bytes = {.encode = encode_bytes, .whole = encode_whole_bytes, .begin = -1, .end = 33};

static record record_of(int n, const field *fields)
{
    return (record){.origin = "data", .line = 1, .n_fields = n, .fields = fields, .label = -1, .batch = -1};
}

#define FIELD(name_, text_) {.name = name_, .text = text_, .length = sizeof text_ - 1}

/* The i-th text of an example, as characters. */
static const char *text_of(const example *e, int i)
{
    static char out[100];
    int         n = 0;

    for (int k = example_begin(e, i); k < example_end(e, i); k++)
        out[n++] = (char)e->ids[k];
    out[n] = '\0';
    return out;
}

START_TEST(two_answers_have_one_prompt)
{
    static const field  fields[] = {FIELD("q", "one two three four"), FIELD("c", "yes"), FIELD("r", "never")};
    static const field  empty[] = {FIELD("q", "one"), FIELD("c", "yes"), FIELD("r", "")};
    const text_template t = {.words = {.prompt = "{q}:", .target = " {c}"}, .rejected = " {r}"};
    record              v[] = {record_of(3, fields), record_of(3, empty)};
    records             r = {.n = 1, .v = v};
    example_options     o = {.length = 40, .overlong = "cut", .loss_on = "target"};
    examples            x;

    open_arenas();
    MUST(examples_make(&a, &work, &r, &t, NULL, &bytes, &o, &x));
    ck_assert(x.n == 1 && x.n_targets == 1 && x.place == TARGET_TEXTS && x.v[0].n_texts == 2);
    ck_assert_str_eq(text_of(&x.v[0], 0), "one two three four: yes!");
    ck_assert_str_eq(text_of(&x.v[0], 1), "one two three four: never!");
    ck_assert_int_eq(x.longest, 26);
    for (int i = 0; i < x.v[0].n; i++)
        ck_assert_int_eq(x.v[0].labels[i], i >= 19 && (i < 24 || i >= 24 + 19) ? x.v[0].ids[i] : -100);
    o.length = 20; /* the longer decides what is left of the prompt of both */
    MUST(examples_make(&a, &work, &r, &t, NULL, &bytes, &o, &x));
    ck_assert(x.n_cut == 1 && x.longest <= 20);
    ck_assert_str_eq(text_of(&x.v[0], 0), "one two: yes!");
    ck_assert_str_eq(text_of(&x.v[0], 1), "one two: never!");
    o.overlong = "error";
    MUST_FAIL(examples_make(&a, &work, &r, &t, NULL, &bytes, &o, &x), "has 26 tokens, length is 20");
    o.overlong = "drop";
    MUST_FAIL(examples_make(&a, &work, &r, &t, NULL, &bytes, &o, &x), "none of 1 records is left");
    o.length = 40;
    r = (records){.n = 1, .v = v + 1};
    text_encoder no_end = bytes;
    no_end.end = -1;
    MUST_FAIL(examples_make(&a, &work, &r, &(text_template){.words = {"{q}:", "{c}", NULL}, .rejected = "{r}"}, NULL,
                            &no_end, &o, &x),
              "its rejected answer has no tokens");
    MUST_FAIL(examples_make(&a, &work, &r, &(text_template){.words = {"{q}:", "{c}", NULL}, .rejected = "{x}"}, NULL,
                            &bytes, &o, &x),
              "there is no field {x}");
    v[0].ids = ids;
    r.v = v;
    MUST_FAIL(examples_make(&a, &work, &r, &t, NULL, &bytes, &o, &x), "is one list of ids");
    close_arenas();
}
END_TEST

static const char turns[] = "{% for m in messages %}[{{ m.role }}]{{ m.content }}.{% endfor %}"
                            "{% if add_generation_prompt %}[assistant]{% endif %}";

static status render(void *context, arena *to, const cJSON *messages, char **text, size_t *length, chat_span **spans,
                     int64_t *n_spans)
{
    (void)context;
    return chat_render_spans(to, turns, strlen(turns), messages, NULL, text, length, spans, n_spans);
}

START_TEST(two_answers_are_turns)
{
    static const field    fields[] = {FIELD("q", "who?"), FIELD("c", "me"), FIELD("r", "you")};
    const text_template   t = {.chat = true, .words = {.prompt = "{q}", .target = "{c}"}, .rejected = "{r}"};
    const chat_renderer   chat = {.render = render};
    const example_options o = {.length = 60, .overlong = "error", .loss_on = "target"};
    record                v = record_of(3, fields);
    examples              x;

    open_arenas();
    MUST(examples_make(&a, &work, &(records){.n = 1, .v = &v}, &t, &chat, &bytes, &o, &x));
    ck_assert_str_eq(text_of(&x.v[0], 0), "[user]who?.[assistant]me.");
    ck_assert_str_eq(text_of(&x.v[0], 1), "[user]who?.[assistant]you.");
    for (int i = 0; i < x.v[0].n; i++)
        ck_assert_int_eq(x.v[0].labels[i] != -100, (i >= 22 && i < 25) || i >= 25 + 22);
    close_arenas();
}
END_TEST

START_TEST(texts_that_are_missing_are_left_out)
{
    static const field       both[] = {FIELD("q", "abc"), FIELD("p", "de"), FIELD("n", "f")};
    static const char *const texts[] = {"{q}", "+{p}", "-{n}"};
    record                   v[] = {record_of(3, both), record_of(2, both), record_of(1, both)};
    records                  r = {.n = 2, .v = v};
    const whole_options      w = {.kind = WHOLE_TEXTS, .place = TARGET_SEQUENCE, .n_texts = 3, .needed = 2,
                                  .texts = texts};
    example_options          o = {.length = 2, .overlong = "cut", .loss_on = "all"};
    examples                 x;

    open_arenas();
    v[0].label = v[1].label = v[2].label = 0;
    MUST_FAIL(examples_whole(&a, &work, &r, &(text_template){.words = {.prompt = "{q}"}}, &bytes, &o, &w, &x),
              "words its texts itself");
    MUST(examples_whole(&a, &work, &r, &(text_template){0}, &bytes, &o, &w, &x));
    ck_assert(x.v[0].n_texts == 3 && x.v[1].n_texts == 2);
    ck_assert_str_eq(text_of(&x.v[0], 0), "ab");
    ck_assert_str_eq(text_of(&x.v[0], 1), "+d");
    ck_assert_str_eq(text_of(&x.v[0], 2), "-f");
    ck_assert(x.n_cut == 2 && x.longest == 2 && x.n_targets == 2);
    r.n = 3;
    MUST_FAIL(examples_whole(&a, &work, &r, NULL, &bytes, &o, &w, &x), "there is no field {p}");
    o.overlong = "error";
    MUST_FAIL(examples_whole(&a, &work, &r, NULL, &bytes, &o, &w, &x), "has 3 tokens, length is 2");
    v[0].ids = ids;
    MUST_FAIL(examples_whole(&a, &work, &r, NULL, &bytes, &o, &w, &x), "is one sequence, and the objective reads");
    close_arenas();
}
END_TEST

TESTS(pack, texts_become_sequences, a_sample_fits_whole_or_not, texts_of_a_sample_stay_together,
      a_micro_batch_must_hold_a_sample, two_answers_have_one_prompt, two_answers_are_turns,
      texts_that_are_missing_are_left_out)
