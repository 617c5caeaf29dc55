/* objective_texts: objectives whose samples are several texts, contrastive and dpo, against their formulas
 * tests/run: no device */
#include "tests/with_objective.h"

#include "core/file.h"

#include <math.h>

/* Another forward of the micro-batch that was computed last: its hidden states, and the losses of its targets. */
typedef struct look {
    arena memory, step;
    tape *t;
    feed  f;
    var  *hidden, *each;
} look;

static void open_look(look *l, run *t)
{
    model *m = &t->in.s.m;
    stream s = {0};

    memset(l, 0, sizeof *l);
    MUST(arena_open(&l->memory, "look", (size_t)1 << 26));
    MUST(feed_open(&l->f, m, &l->memory, t->x.o.pack, 0, t->x.o.seqs));
    MUST(tape_open(&l->t, TYPE_F32));
    feed_record(&l->f, l->t, &s);
    l->hidden = model_hidden(m, l->t, &s);
    tape_keep(l->t, l->hidden);
    if (m->head.kind == HEAD_CAUSAL) {
        model_loss(m, l->t, l->hidden, l->f.target_rows_var, l->f.target_ids_var, &l->each);
        tape_keep(l->t, l->each);
    }
    MUST(tape_plan(l->t, NULL, RECOMPUTE_NONE));
    MUST(arena_open(&l->step, "look", tape_step_bytes(l->t) + 4096));
    MUST(tape_bind(l->t, &l->step));
    batch_clear(&l->f.b);
    l->f.b.place = t->x.f.b.place;
    for (int s0 = 0; s0 < t->x.f.b.n_seqs; s0++)
        if (t->x.f.b.text[s0] == 0)
            ck_assert(batch_add(&l->f.b, &t->in.train.v[t->x.f.b.example[s0]], t->x.f.b.sample[s0], 0));
    tape_set_run(l->t, &t->x.run);
    feed_load(&l->f);
    tape_forward(l->t);
}

static void close_look(look *l)
{
    tape_close(l->t);
    arena_close(&l->step);
    arena_close(&l->memory);
}

enum { WIDTH = 32 }; /* of both tiny trunks */

/* A sequence's embedding. */
static void embedding(const look *l, int seq, const char *pooling, double *out)
{
    const float *x = l->hidden->t.v;
    const int    from = l->f.b.offsets[seq], to = l->f.b.offsets[seq + 1];

    for (int c = 0; c < WIDTH; c++) {
        out[c] = 0;
        for (int i = from; i < to; i++)
            out[c] += (double)x[i * WIDTH + c] / (to - from);
        if (strcmp(pooling, "mean") != 0)
            out[c] = (double)x[(pooling[0] == 'c' ? from : to - 1) * WIDTH + c];
    }
}

static double dot(const double *a, const double *b)
{
    double sum = 0;

    for (int c = 0; c < WIDTH; c++)
        sum += a[c] * b[c];
    return sum;
}

static double cosine(const double *a, const double *b)
{
    return dot(a, b) / sqrt(dot(a, a) * dot(b, b));
}

static double distance(const double *a, const double *b)
{
    double sum = 0;

    for (int c = 0; c < WIDTH; c++)
        sum += (a[c] - b[c]) * (a[c] - b[c]);
    return sqrt(sum);
}

/* log of the sum of exp(x / temperature), every `step`-th of n */
static double log_sum(const float *x, int n, int step, double temperature)
{
    double sum = 0;

    for (int i = 0; i < n; i++)
        sum += exp((double)x[i * step] / temperature);
    return log(sum);
}

/* Scores are cosines of embeddings, candidates the positives and then the negatives. */
static void check_scores(run *t, const char *pooling)
{
    const int    P = t->x.f.b.n_samples, Q = t->x.f.b.n_seqs - P, columns = (int)shape_last(t->x.out.scores->t.s);
    double       a[WIDTH], b[WIDTH];
    look         l;

    open_look(&l, t);
    ck_assert(P > 4 && t->x.f.b.n_seqs == 3 * P);
    for (int i = 0; i < P; i++)
        for (int j = 0; j < Q; j++) {
            embedding(&l, 3 * i, pooling, a);
            embedding(&l, j < P ? 3 * j + 1 : 3 * (j - P) + 2, pooling, b);
            ck_assert_msg(fabs(cosine(a, b) - (double)scores_of(t)[i * columns + j]) < 1e-5, "%s: query %d, text %d",
                          pooling, i, j);
        }
    close_look(&l);
}

START_TEST(queries_are_told_from_all_texts)
{
    static const char *const ways[3][2] = {{"objective.pooling=mean", "objective.symmetric=no"},
                                           {"objective.pooling=cls", "objective.symmetric=yes"},
                                           {"objective.pooling=last", "objective.temperature=0.3"}};

    for (int k = 0; k < 3; k++) {
        const double temperature = k == 2 ? 0.3 : 0.1;
        run          t;
        open_run(&t, "contrastive", 2, ways[k]);
        const double loss = next_loss(&t);
        const float *z = scores_of(&t);
        const int    P = t.x.f.b.n_samples, Q = t.x.f.b.n_seqs - P, columns = (int)shape_last(t.x.out.scores->t.s);
        double       sum = 0, back = 0;
        for (int i = 0; i < P; i++) {
            sum += log_sum(z + i * columns, Q, 1, temperature) - (double)z[i * columns + i] / temperature;
            back += log_sum(z + i, P, columns, temperature) - (double)z[i * columns + i] / temperature;
        }
        same("contrastive", loss, k == 1 ? (sum + back) / 2 : sum);
        check_scores(&t, strchr(ways[k][0], '=') + 1);
        close_run(&t);
    }
}
END_TEST

START_TEST(negatives_are_farther_by_a_margin)
{
    static const char *const ways[2][3] = {
        {"objective.distance=euclidean", "objective.margin=5", "objective.pooling=last"},
        {"objective.distance=cosine", "objective.margin=0.1", "objective.pooling=mean"}};

    for (int k = 0; k < 2; k++) {
        double sum = 0, q[WIDTH], p[WIDTH], n[WIDTH];
        int    over = 0;
        run    t;
        look   l;
        open_run(&t, "triplet", 3, ways[k]);
        const double loss = next_loss(&t);
        open_look(&l, &t);
        for (int i = 0; i < t.x.f.b.n_samples; i++) {
            embedding(&l, 3 * i, k ? "mean" : "last", q);
            embedding(&l, 3 * i + 1, k ? "mean" : "last", p);
            embedding(&l, 3 * i + 2, k ? "mean" : "last", n);
            const double far = k ? cosine(q, n) - cosine(q, p) + 0.1 : distance(q, p) - distance(q, n) + 5;
            sum += far > 0 ? far : 0;
            over += far > 0;
        }
        ck_assert_int_gt(over, 0);
        ck_assert_msg(fabs(loss - sum) < 1e-4, "triplet: the loss is %.9g, must be %.9g", loss, sum);
        close_look(&l);
        close_run(&t);
    }
}
END_TEST

START_TEST(cosines_come_near_to_scores)
{
    static const char *const ways[] = {"objective.loss=cosine"};
    double                   sum = 0;
    run                      t;

    open_run(&t, "contrastive", 1, ways);
    const double loss = next_loss(&t);
    const batch *b = &t.x.f.b;
    for (int i = 0; i < b->n_samples; i++)
        sum += pow((double)scores_of(&t)[i * shape_last(t.x.out.scores->t.s) + i] - (double)b->values[i], 2);
    ck_assert_int_eq(b->n_seqs, 2 * b->n_samples); /* negatives are not read */
    same("cosine", loss, sum);
    close_run(&t);
}
END_TEST

/* Of the micro-batch: the log-probability of a sequence's targets by the losses of a look, a mean or a sum. */
static double log_probability(const look *l, int s, bool mean)
{
    const int32_t *first = l->f.b.first_target;
    double         sum = 0;

    for (int32_t i = first[s]; i < first[s + 1]; i++)
        sum -= (double)((const float *)l->each->t.v)[i];
    return mean ? sum / (first[s + 1] - first[s]) : sum;
}

START_TEST(chosen_answers_become_more_likely)
{
    static const char *const ways[2][2] = {{"objective.loss=sigmoid", "objective.label_smoothing=0.2"},
                                           {"objective.loss=ipo", "objective.beta=0.1"}};

    for (int k = 0; k < 2; k++) {
        double sum = 0, moved = 0, tokens = 0;
        run    t;
        look   l;
        open_run(&t, "dpo", 2, ways[k]);
        const int P = (next_loss(&t), t.x.f.b.n_samples); /* a fresh lora changes nothing */
        for (int i = 0; i < P; i++)
            ck_assert_msg(fabs((double)scores_of(&t)[i]) < 1e-5, "margin %d is %g", i, (double)scores_of(&t)[i]);
        for (int64_t i = 0; i < t.in.s.p->size; i++)
            t.in.s.p->values[i] += 0.05f * (float)sin((double)i);
        const double loss = next_loss(&t);
        open_look(&l, &t);
        ck_assert_int_eq(t.x.f.b.n_seqs, 2 * t.x.f.b.n_samples);
        for (int i = 0; i < t.x.f.b.n_samples; i++) {
            const double h = log_probability(&l, 2 * i, k) - log_probability(&l, 2 * i + 1, k) -
                             (double)t.x.f.b.values[i];
            sum += k ? pow(h - 1 / 0.2, 2) : 0.8 * log1p(exp(-0.1 * h)) + 0.2 * log1p(exp(0.1 * h));
            ck_assert_msg(fabs(0.1 * h - (double)scores_of(&t)[i]) < 1e-5, "margin %d", i);
            moved += fabs(h);
        }
        tokens = t.x.f.b.n_targets;
        ck_assert(moved > 1e-3 && tokens > 4 * t.x.f.b.n_samples);
        ck_assert_msg(fabs(loss - sum) < 1e-4 * (1 + sum), "%s: %.9g, must be %.9g", ways[k][0], loss, sum);
        close_look(&l);
        close_run(&t);
    }
}
END_TEST

/* Whatever the modules are by then, and without changing what they are. */
START_TEST(the_reference_is_the_bare_trunk)
{
    static const char *const ways[3][1] = {{"data.shuffle=yes"},
                                           {"modules=[{name: main, method: full, at: \"*.attn.q\"}]"},
                                           {"modules=[{name: main, method: prompt, at: embed_tokens, tokens: 3}]"}};
    run                      t, other;

    open_run(&t, "dpo", 0, NULL);
    for (int k = 0; k < 3; k++) {
        open_run(&other, "dpo", 1, ways[k]);
        for (int64_t i = 0; i < other.in.s.p->size; i++)
            other.in.s.p->values[i] += 0.5f;
        MUST(opening_settle(&other.in, true));
        for (int64_t i = 0; i < t.in.train.n; i++)
            ck_assert_msg(fabs((double)t.in.train.v[i].values[0] - (double)other.in.train.v[i].values[0]) < 1e-4,
                          "%s: sample %d", ways[k][0], (int)i);
        next_loss(&other);
        double most = 0;
        for (int i = 0; i < other.x.f.b.n_samples; i++)
            most = fmax(most, fabs((double)scores_of(&other)[i]));
        ck_assert_msg(most > 1e-3, "%s: margins are up to %g", ways[k][0], most);
        close_run(&other);
    }
    close_run(&t);
}
END_TEST

/* Conversations that end with the chosen answer are what the same prompt and answer make. */
START_TEST(messages_end_with_the_chosen_answer)
{
    static const char words[] =
        "{\"model\": {\"type\": \"WordLevel\", \"unk_token\": \"?\", \"vocab\": {\"?\": 0, \"who\": 1, \"hoots\": 2, "
        "\"owl\": 3, \"cat\": 4, \"user\": 5, \"assistant\": 6, \"end\": 7}}, \"pre_tokenizer\": {\"type\": "
        "\"Whitespace\"}, \"normalizer\": null, \"post_processor\": null, \"decoder\": null, \"added_tokens\": []}";
    static const char chat[] = "{% for m in messages %}{{ m.role }} {{ m.content }} end\n{% endfor %}"
                               "{% if add_generation_prompt %}assistant {% endif %}";
    static const char fields[] = "{\"prompt\": \"who hoots\", \"chosen\": \"owl\", \"rejected\": \"cat cat\"}\n";
    static const char talks[] = "{\"messages\": [{\"role\": \"user\", \"content\": \"who hoots\"}, {\"role\": "
                                "\"assistant\", \"content\": \"owl\"}], \"rejected\": \"cat cat\"}\n";
    static const char *const data[] = {fields, talks};
    char                     folder[64], base[128], path[2][128];
    double                   loss[2];

    test_folder(folder);
    snprintf(base, sizeof base, "%s/config.json", folder);
    MUST(file_copy(SOURCE_FOLDER "/tests/data/tiny_llama.json", base));
    snprintf(path[0], sizeof path[0], "%s/tokenizer.json", folder);
    MUST(file_replace(path[0], words, strlen(words)));
    snprintf(path[0], sizeof path[0], "%s/chat_template.jinja", folder);
    MUST(file_replace(path[0], chat, strlen(chat)));
    snprintf(base, sizeof base, "base=random:%s/config.json", folder);
    for (int k = 0; k < 2; k++) {
        char train[160], test[160];
        run  t;
        snprintf(path[k], sizeof path[k], "%s/%d.jsonl", folder, k);
        MUST(file_replace(path[k], data[k], strlen(data[k])));
        snprintf(train, sizeof train, "data.train={source: jsonl, path: %s}", path[k]);
        snprintf(test, sizeof test, "data.test={source: jsonl, path: %s}", path[k]);
        open_run(&t, "dpo", 5, (const char *const[]){base, train, test, "data.template=chat",
                                                     "objective.rejected=\"{rejected}\""});
        ck_assert_int_eq(t.in.train.v[0].n, 7 + 8); /* [user who hoots end assistant owl end], and cat cat */
        for (int64_t i = 0; i < t.in.s.p->size; i++)
            t.in.s.p->values[i] += 0.05f * (float)sin((double)i);
        loss[k] = next_loss(&t);
        close_run(&t);
    }
    ck_assert(loss[0] == loss[1] && loss[0] > 0);
    MUST(folder_remove_tree(folder));
}
END_TEST

TESTS(objective_texts, queries_are_told_from_all_texts, negatives_are_farther_by_a_margin, cosines_come_near_to_scores,
      chosen_answers_become_more_likely, the_reference_is_the_bare_trunk,
      messages_end_with_the_chosen_answer)
