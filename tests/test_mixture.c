/* mixture: several sources as one, what an epoch of them holds, and going on in it */
#include "data/mixture.h"
#include "data/pack.h"
#include "tests/helpers.h"

#include "core/file.h"

static arena a, work;

static void open_arenas(void)
{
    MUST(arena_open(&a, "setup", (size_t)1 << 30));
    MUST(arena_open(&work, "work", (size_t)1 << 30));
}

static void close_arenas(void)
{
    arena_close(&a);
    arena_close(&work);
}

/* n records "<letter><number>" with a class. */
static records make_records(char letter, int n, const char *const *labels, int n_labels)
{
    records r = {.n = n, .plain = {.prompt = "{text}", .target = "{text}"}, .labels = labels, .n_labels = n_labels};

    r.v = arena_take(&a, (size_t)n, sizeof *r.v);
    for (int i = 0; i < n; i++) {
        field *f = arena_take(&a, 1, sizeof *f);
        f->name = "text";
        f->text = arena_printf(&a, "%c%d", letter, i);
        f->length = strlen(f->text);
        r.v[i] = (record){.origin = "made", .line = i + 1, .n_fields = 1, .fields = f, .batch = -1,
                          .label = n_labels ? i % n_labels : -1};
    }
    return r;
}

static status encode_bytes(void *context, arena *to, const char *text, size_t n, int32_t **ids, int64_t *count)
{
    (void)context;
    TRY_TAKE(*ids, to, n);
    for (size_t i = 0; i < n; i++)
        (*ids)[i] = (uint8_t)text[i];
    *count = (int64_t)n;
    return STATUS_OK;
}

static const text_encoder    bytes = {.encode = encode_bytes, .begin = -1, .end = -1};
static const example_options plain = {.length = 64, .overlong = "drop", .loss_on = "target"};

static void make_examples(const records *r, examples *x)
{
    MUST(examples_make(&a, &work, r, NULL, NULL, &bytes, &plain, x));
}

/* How often each example comes in an epoch. */
static void count_epoch(packer *p, int64_t epoch, int *counts)
{
    pack_step s;

    while (p->at.epoch == epoch) {
        packer_step(p, &s);
        for (int64_t i = 0; i < s.n_samples; i++)
            counts[s.samples[i].example]++;
    }
}

START_TEST(parts)
{
    static const char *const letters[] = {"p", "q"}, *const others[] = {"r", "q"}, *const more[] = {"s"};
    records                  r;

    open_arenas();
    mixture_part in[] = {{make_records('a', 4, letters, 2), 1, 0},
                         {make_records('x', 3, more, 1), 0, 1},
                         {make_records('b', 3, others, 2), 0.5, 2}};
    in[2].r.plain = (wording){.prompt = "<{text}>", .target = "!"};
    MUST(mixture_join(&a, in, 3, &r));
    ck_assert_int_eq(r.n, 7);
    ck_assert_int_eq(r.n_parts, 2);
    ck_assert_int_eq(r.n_labels, 3); /* p, q, r: the source of weight 0 adds none */
    ck_assert_str_eq(r.labels[2], "r");
    ck_assert_int_eq(r.v[3].label, 1);
    ck_assert_int_eq(r.v[4].label, 2);
    ck_assert_int_eq(r.v[5].label, 1);
    ck_assert_int_eq(r.v[0].task, 0);
    ck_assert_int_eq(r.v[6].task, 2);

    examples x;
    make_examples(&r, &x);
    ck_assert_int_eq(x.n, 7);
    ck_assert_int_eq(x.v[3].n, 4); /* a3 a3 */
    ck_assert_int_eq(x.v[4].n, 5); /* <b0> ! */
    ck_assert_int_eq(x.v[4].ids[0], '<');
    ck_assert_int_eq(x.n_parts, 2);
    ck_assert_int_eq(x.parts[1].first, 4);
    ck_assert_int_eq(x.parts[1].n, 3);
    close_arenas();
}
END_TEST

START_TEST(refused)
{
    static const char *const letters[] = {"p", "q"};
    static const int32_t     one[] = {1};
    records                  r, x = {0};

    open_arenas();
    mixture_part some[] = {{make_records('a', 2, letters, 2), 1, -1}, {make_records('b', 2, NULL, 0), 1, -1}};
    MUST_FAIL(mixture_join(&a, some, 2, &r), "has classes or tags and");
    mixture_part none[] = {{make_records('a', 2, NULL, 0), 0, -1}, {make_records('b', 2, NULL, 0), 0, -1}};
    MUST_FAIL(mixture_join(&a, none, 2, &r), "weights of all sources are 0");
    mixture_part given[] = {{make_records('a', 2, NULL, 0), 1, -1}, {make_records('b', 2, NULL, 0), 1, -1}};
    given[1].r.batched = true;
    MUST_FAIL(mixture_join(&a, given, 2, &r), "gives its micro-batches");
    mixture_part kinds[] = {{make_records('a', 2, NULL, 0), 1, -1}, {make_records('b', 2, NULL, 0), 1, -1}};
    kinds[1].r.v[0].ids = one;
    MUST_FAIL(mixture_join(&a, kinds, 2, &r), "different kinds");
    x = make_records('a', 2, letters, 2);
    MUST_FAIL(records_relabel(&a, &x, 1, letters), "made:2: \"q\" must be one of the 1 classes");
    close_arenas();
}
END_TEST

/* Ten samples of weight 2, nine of weight 1, three of 0.1 (at least one): 10 + 5 + 1 an epoch. */
START_TEST(epochs)
{
    records  r;
    examples x;
    packer   p;
    int      sum[22] = {0}, first[22] = {0}, second[22] = {0};

    open_arenas();
    mixture_part in[] = {{make_records('a', 10, NULL, 0), 2, -1},
                         {make_records('b', 9, NULL, 0), 1, -1},
                         {make_records('c', 3, NULL, 0), 0.1, -1}};
    MUST(mixture_join(&a, in, 3, &r));
    make_examples(&r, &x);
    for (int shuffle = 0; shuffle < 2; shuffle++) {
        memset(sum, 0, sizeof sum);
        MUST(packer_open(&a, &x, &(pack_options){.pack = 8, .accumulate = 1, .shuffle = shuffle, .seed = 3}, &p));
        ck_assert_int_eq(p.epoch, 16);
        for (int64_t epoch = 0; epoch < 9; epoch++) {
            int counts[22] = {0}, b = 0, c = 0;

            count_epoch(&p, epoch, counts);
            for (int i = 0; i < 22; i++) {
                if (i < 10)
                    ck_assert_int_eq(counts[i], 1);
                b += i >= 10 && i < 19 ? counts[i] : 0;
                c += i >= 19 ? counts[i] : 0;
                sum[i] += counts[i];
            }
            ck_assert_int_eq(b, 5);
            ck_assert_int_eq(c, 1);
            if (epoch < 2)
                memcpy(epoch ? second : first, counts, sizeof counts);
        }
        ck_assert_int_ne(memcmp(first, second, sizeof first), 0); /* others of the smaller source */
        for (int i = 0; i < 22; i++) /* all of a source equally often: 9 * 10 / 10, 9 * 5 / 9, 9 / 3 */
            ck_assert_int_eq(sum[i], i < 10 ? 9 : i < 19 ? 5 : 3);
    }
    MUST(packer_open_once(&a, &x, 8, 0, &p));
    ck_assert_int_eq(p.epoch, 22);
    close_arenas();
}
END_TEST

/* Equal weights are the sources one after another: the same samples as of one source that holds all. */
START_TEST(equal_weights)
{
    records   r;
    examples  x, y;
    packer    p, q;
    pack_step s, t;

    open_arenas();
    mixture_part in[] = {{make_records('a', 7, NULL, 0), 3, -1}, {make_records('b', 5, NULL, 0), 3, -1}};
    MUST(mixture_join(&a, in, 2, &r));
    make_examples(&r, &x);
    r.n_parts = 0;
    r.plain = in[0].r.plain;
    make_examples(&r, &y);
    const pack_options o = {.pack = 12, .batch_tokens = 24, .shuffle = true, .seed = 5};
    MUST(packer_open(&a, &x, &o, &p));
    MUST(packer_open(&a, &y, &o, &q));
    for (int i = 0; i < 20; i++) {
        packer_step(&p, &s);
        packer_step(&q, &t);
        ck_assert_int_eq(s.n_samples, t.n_samples);
        ck_assert_mem_eq(s.samples, t.samples, (size_t)s.n_samples * sizeof *s.samples);
    }
    close_arenas();
}
END_TEST

/* From any position that was saved the same samples follow. */
START_TEST(resumed)
{
    records   r;
    examples  x;
    packer    p, q;
    pack_step s, t;

    open_arenas();
    mixture_part in[] = {{make_records('a', 11, NULL, 0), 1, -1}, {make_records('b', 13, NULL, 0), 0.3, -1}};
    MUST(mixture_join(&a, in, 2, &r));
    make_examples(&r, &x);
    const pack_options kinds[] = {{.pack = 12, .batch_tokens = 24, .shuffle = true},
                                  {.pack = 12, .batch_samples = 5, .shuffle = true},
                                  {.pack = 9, .accumulate = 2}};
    for (size_t k = 0; k < COUNT_OF(kinds); k++) {
        MUST(packer_open(&a, &x, &kinds[k], &p));
        MUST(packer_open(&a, &x, &kinds[k], &q));
        for (int i = 0; i < 40; i++) {
            const pack_position at = p.at;

            packer_step(&p, &s);
            MUST(packer_seek(&q, &at));
            packer_step(&q, &t);
            ck_assert_int_eq(s.n_samples, t.n_samples);
            ck_assert_mem_eq(s.samples, t.samples, (size_t)s.n_samples * sizeof *s.samples);
        }
        MUST_FAIL(packer_seek(&q, &(pack_position){.next = 16}), "does not belong to these 15 examples");
    }
    close_arenas();
}
END_TEST

/* Running text in a mixture: pieces of it beside whole samples. */
START_TEST(running)
{
    char     folder[64], text[200];
    records  r;
    examples x;

    open_arenas();
    test_folder(folder);
    memset(text, 'x', sizeof text);
    const char *path = path_join(&a, folder, "a.txt");
    MUST(file_replace(path, text, sizeof text));
    for (int first = 0; first < 2; first++) { /* in front and behind */
        mixture_part in[2] = {{.weight = 1, .task = -1}, {.weight = 1, .task = -1}};
        MUST(source_load(&a, "text", &(text_options){.path = {1, &path}}, &in[first].r));
        in[!first].r = make_records('a', 5, NULL, 0);
        MUST(mixture_join(&a, in, 2, &r));
        make_examples(&r, &x);
        ck_assert_int_eq(x.n, 5 + 4);
        ck_assert_int_eq(x.parts[first].n, 4);
        ck_assert_int_eq(x.v[x.parts[first].first].n, 64);
    }
    MUST(folder_remove_tree(folder));
    close_arenas();
}
END_TEST

TESTS(mixture, parts, refused, epochs, equal_weights, resumed, running)
