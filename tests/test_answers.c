/* answers: objectives that learn to answer: spans of a context, a decoder behind an encoder, a student and a teacher
 * tests/run: no device */
#include "tests/with_objective.h"

#include "core/file.h"
#include "core/json.h"

#include <math.h>
#include <unistd.h>

/* ---- spans --------------------------------------------------------------------------------------- */

START_TEST(begin_and_end_are_cross_entropies_of_rows)
{
    run t;

    open_run(&t, "span", 0, NULL);
    const double loss = next_loss(&t);
    const float *z = scores_of(&t);
    const batch *b = &t.x.f.b;
    double       sum = 0;

    for (int s = 0; s < b->n_seqs; s++)
        for (int k = 0; k < 2; k++) {
            double total = 0;
            for (int row = b->offsets[s]; row < b->offsets[s + 1]; row++)
                total += exp((double)z[2 * row + k]);
            sum += (log(total) - (double)z[2 * (b->offsets[s] + b->spans[2 * s + k]) + k]) / 2;
        }
    ck_assert_int_gt(b->n_seqs, 5);
    ck_assert_int_eq(b->n_targets, b->n_seqs);
    same("span", loss, sum);
    close_run(&t);
}
END_TEST

/* The answer of a record as a window's rows have it. */
static metric_text held(const example *e)
{
    const example_window *w = e->window;
    const size_t          begin = w->begin[e->span[0] - w->first], end = w->end[e->span[1] - w->first];

    return (metric_text){record_field(w->r, "context")->text + begin, end - begin};
}

START_TEST(windows_hold_a_context_and_its_answer)
{
    run     t;
    int64_t answered[40] = {0}, reached[40] = {0}, windows = 0;

    open_run(&t, "span", 0, NULL);
    ck_assert_int_eq(t.in.train.n_windowed, 40);
    for (int64_t i = 0; i < t.in.train.n; i++) {
        const example        *e = &t.in.train.v[i];
        const example_window *w = e->window;
        const field          *answer = record_field(w->r, "answer");
        ck_assert_int_le(e->n, 20);
        ck_assert(e->ids[0] == 2 && e->ids[3] == 3 && e->ids[e->n - 1] == 3); /* [CLS] question [SEP] context [SEP] */
        ck_assert(w->first == 4 && w->n == e->n - 5 && e->types[3] == 0 && e->types[4] == 1);
        windows += reached[w->number] > 0;
        ck_assert_msg(!reached[w->number] || i == 0 || w->begin[0] == e[-1].window->begin[e[-1].window->n - 4],
                      "neighbours do not share 4 tokens");
        reached[w->number] = w->end[w->n - 1];
        if (e->span[0] == 0)
            continue;
        ck_assert_int_eq(held(e).length, answer->length);
        ck_assert_mem_eq(held(e).text, answer->text, answer->length);
        answered[w->number]++;
    }
    for (int64_t i = 0; i < t.in.train.n; i++) {
        const example_window *w = t.in.train.v[i].window;
        ck_assert_int_eq(reached[w->number], record_field(w->r, "context")->length);
        ck_assert_msg((answered[w->number] > 0) == (record_field(w->r, "answer")->length > 0),
                      "record %d has %d answers", (int)w->number, (int)answered[w->number]);
    }
    ck_assert_int_gt(windows, 20);
    close_run(&t);
}
END_TEST

/* Records as SQuAD has them give the same samples; of several answers the first is learnt. */
START_TEST(answers_may_be_lists)
{
    char        folder[64], path[80], train[160], test[160];
    const char *override[] = {train, test, "objective.answer=answers"};
    run         t, plain;
    int64_t     answered = 0;

    open_run(&plain, "span", 0, NULL);
    test_folder(folder);
    snprintf(path, sizeof path, "%s/squad", folder);
    snprintf(train, sizeof train, "data.train={source: jsonl, path: %s}", path);
    snprintf(test, sizeof test, "data.test={source: jsonl, path: %s}", path);
    FILE *f = fopen(path, "w");
    ck_assert(f != NULL);
    for (int64_t i = 0; i < plain.in.train.n; i++) {
        const record *r = plain.in.train.v[i].window->r;
        const char   *answer = record_field(r, "answer")->text, *start = record_field(r, "start")->text;
        if (i == 0 || r != plain.in.train.v[i - 1].window->r)
            fprintf(f, "{\"question\": \"%s\", \"context\": \"%s\", \"answers\": {\"text\": [%s%s%s], "
                    "\"answer_start\": [%s%s]}}\n", record_field(r, "question")->text, record_field(r, "context")->text, *answer ? "\"" : "", answer,
                    *answer ? "\", \"the\"" : "", *answer ? start : "", *answer ? ", 0" : "");
    }
    fclose(f);
    open_run(&t, "span", 3, override);
    ck_assert_int_eq(t.in.train.n, plain.in.train.n);
    for (int64_t i = 0; i < t.in.train.n; i++) {
        ck_assert_mem_eq(t.in.train.v[i].span, plain.in.train.v[i].span, sizeof t.in.train.v[i].span);
        answered += t.in.train.v[i].span[0] > 0;
    }
    ck_assert_int_gt(answered, 20);
    close_run(&t);
    close_run(&plain);
    unlink(path);
    rmdir(folder);
}
END_TEST

typedef struct best {
    double      sum, none;
    metric_text text;
} best;

/* The best span of a sequence of the micro-batch, tried one by one. */
static void try_spans(const run *t, int s, best *out)
{
    const batch          *b = &t->x.f.b;
    const example_window *w = t->in.test.v[b->example[s]].window;
    const float          *z = scores_of(t) + 2 * b->offsets[s];
    const char           *text = record_field(w->r, "context")->text;

    out[w->number].none = fmin(out[w->number].none, (double)(z[0] + z[1]));
    for (int from = 0; from < w->n; from++)
        for (int to = from; to < w->n && to < from + 4; to++) {
            const double sum = (double)(z[2 * (w->first + from)] + z[2 * (w->first + to) + 1]);
            if (sum > out[w->number].sum)
                out[w->number] = (best){sum, out[w->number].none,
                                        {text + w->begin[from], w->end[to] - w->begin[from]}};
        }
}

START_TEST(predicted_spans_are_the_best_of_all_windows)
{
    run        t;
    best       all[40];
    goal_tally tally;
    packer     once;
    pack_step  plan;
    double     sum;
    int64_t    targets, right = 0, none = 0;

    open_run(&t, "span", 0, NULL);
    MUST(goal_tally_open(&t.in.goal, &t.in.s.setup, &t.in.test, &tally));
    MUST(packer_open_once(&t.in.s.setup, &t.in.test, 160, 0, &once));
    MUST(trainer_evaluate(&t.x, &once, &tally, &sum, &targets));
    MUST(goal_tally_finish(&t.in.goal, &tally));
    for (int i = 0; i < 40; i++)
        all[i] = (best){.sum = -INFINITY, .none = INFINITY};
    MUST(packer_open_once(&t.in.s.setup, &t.in.test, 160, 0, &once));
    for (packer_step(&once, &plan); plan.n_leaves > 0; packer_step(&once, &plan)) {
        packer_fill(&once, &plan, 0, &t.x.f.b);
        feed_load(&t.x.f);
        tape_forward(t.x.t);
        for (int s = 0; s < t.x.f.b.n_seqs; s++)
            try_spans(&t, s, all);
    }
    for (int64_t i = 0, done = -1; i < t.in.test.n; i++) {
        const example_window *w = t.in.test.v[i].window;
        const field          *answer = record_field(w->r, "answer");
        const best           *x = &all[w->number];
        const size_t          length = x->none > x->sum ? 0 : x->text.length;
        if (w->number == done)
            continue;
        none += length == 0;
        right += length == answer->length && memcmp(x->text.text, answer->text, length) == 0;
        done = w->number;
    }
    ck_assert_str_eq(tally.figures[0].name, "exact_match");
    ck_assert_int_eq(tally.v[0].n, 40);
    ck_assert_msg(tally.figures[0].value == (double)right / 40, "exact match is %g, must be %g",
                  tally.figures[0].value, (double)right / 40);
    ck_assert_msg(right > 0 && none < 40, "%d right, %d without an answer: nothing was compared", (int)right,
                  (int)none);
    close_run(&t);
}
END_TEST

/* ---- an encoder and a decoder -------------------------------------------------------------------- */

START_TEST(a_decoder_learns_the_target_and_the_end)
{
    static const char *const short_ones[] = {"data.length=4", "objective.source_length=9"};
    static const int32_t     read[] = {259, 'f', 'r', 'u', 'i', 't'}, learnt[] = {'f', 'r', 'u', 'i', 't', 256};
    static const int32_t     cut[] = {'f', 'r', 'u', 256}, source[] = {'w', 'h', 'a', 't', ' ', 'i', 's', ' ', 256};
    run                      t;

    open_run(&t, "seq2seq", 0, NULL);
    const example *e = &t.in.train.v[0];
    ck_assert_int_eq(e->n, 6);
    ck_assert_mem_eq(e->ids, read, sizeof read);
    ck_assert_mem_eq(e->labels, learnt, sizeof learnt);
    ck_assert_int_eq(e->source[e->n_source - 1], 256);
    ck_assert_int_eq(t.in.train.n_cut, 0);
    ck_assert_int_eq(example_targets(e, t.in.train.place), 6);
    close_run(&t);

    open_run(&t, "seq2seq", 2, short_ones);
    e = &t.in.train.v[0];
    ck_assert_int_eq(e->n, 4);
    ck_assert_mem_eq(e->ids, read, sizeof cut);
    ck_assert_mem_eq(e->labels, cut, sizeof cut);
    ck_assert_int_eq(e->n_source, 9);
    ck_assert_mem_eq(e->source, source, sizeof source);
    ck_assert_int_eq(t.in.train.n_cut, t.in.train.n); /* each counts once */
    close_run(&t);
}
END_TEST

START_TEST(an_encoder_is_asked_what_it_has_read)
{
    static const char *const asking[] = {"train.answers=5", "objective.source_length=30"};
    run                      t;

    open_run(&t, "seq2seq", 2, asking);
    ck_assert_int_eq(t.in.n_questions, 5);
    for (int i = 0; i < 5; i++) {
        const question *q = &t.in.questions[i];
        const example  *e = &t.in.test.v[i];
        ck_assert_int_eq(q->n, e->n_source);
        ck_assert_mem_eq(q->ids, e->source, (size_t)q->n * sizeof *q->ids);
        ck_assert_int_eq(q->truth_length, e->n - 1);
        for (int k = 0; k < e->n - 1; k++)
            ck_assert_int_eq(q->truth[k], e->labels[k]);
    }
    close_run(&t);
}
END_TEST

START_TEST(a_micro_batch_holds_so_many_tokens_of_prompts)
{
    static const char *const narrow[] = {"objective.source_pack=160", "train.batch_samples=60"};
    run                      t;
    pack_step                plan;
    int64_t                  seen = 0, most = 0, tokens = 0;

    open_run(&t, "seq2seq", 2, narrow);
    ck_assert_int_eq(t.x.f.b.source.capacity, 160);
    packer_step(&t.in.data, &plan);
    for (int leaf = 0; leaf < plan.n_leaves; leaf++) {
        const batch *b = &t.x.f.b;
        packer_fill(&t.in.data, &plan, leaf, &t.x.f.b);
        seen += b->n_seqs;
        tokens += b->n_tokens + b->source.n;
        most = b->source.n > most ? b->source.n : most;
        ck_assert_int_le(b->source.n, 160);
    }
    ck_assert_int_eq(seen, 60);
    ck_assert_int_eq(tokens, plan.n_tokens);
    ck_assert_int_gt(most, 100); /* 64 tokens of targets would hold ten prompts */
    close_run(&t);
}
END_TEST

/* Two blocks a stack, of 4 heads of 8; a pair is 4 FLOPs a channel, and twice that backward where it is wanted. */
START_TEST(pairs_of_three_attentions_are_counted)
{
    run t;

    open_run(&t, "seq2seq", 0, NULL);
    const var       *source = t.x.f.recorded.source->q_offsets;
    const tape_pairs some[] = {{.source = source}, {.own = 10, .source = source}, {.source = source, .read = 100},
                               {.source = source, .crossed = 1000}};
    next_loss(&t);
    const tape_work none = tape_flops(t.x.t, &some[0]);
    double          pairs = 10;
    for (size_t i = 1; i < COUNT_OF(some); i++, pairs *= 10) {
        const tape_work more = tape_flops(t.x.t, &some[i]);
        ck_assert_double_eq(more.forward - none.forward, 2 * 32 * 4 * pairs);
        ck_assert_double_eq(more.backward - none.backward, 2 * 32 * 8 * pairs);
    }
    close_run(&t);
}
END_TEST

static void put_list(FILE *f, const char *name, const cJSON *of, const char *key)
{
    char *text = cJSON_PrintUnformatted(cJSON_GetObjectItemCaseSensitive(of, key));

    fprintf(f, "%s\"%s\": %s", name[0] == 's' ? "{" : ", ", name, text);
    cJSON_free(text);
}

/* The sequences of the golden trunk as the source ids has them, in a file; its loss is a mean over targets. */
static double write_golden(const char *trunk, const char *path)
{
    cJSON *root;
    char   file[300];
    FILE  *f = fopen(path, "w");

    ck_assert(f != NULL);
    snprintf(file, sizeof file, "%s/case.json", trunk);
    MUST(json_read(file, &root));
    for (const cJSON *s = cJSON_GetObjectItemCaseSensitive(root, "sequences")->child; s; s = s->next) {
        put_list(f, "source", s, "ids");
        put_list(f, "ids", s, "decoder_ids");
        put_list(f, "labels", s, "labels");
        fprintf(f, "}\n");
    }
    fclose(f);
    const double loss = cJSON_GetObjectItemCaseSensitive(root, "loss")->valuedouble;
    cJSON_Delete(root);
    return loss;
}

START_TEST(a_decoder_has_the_loss_of_the_reference)
{
    char folder[64], ids[160], test[160], path[80], base[280];
    run  t;

    if (!golden_folder())
        SKIP("../shared/golden is not there");
    snprintf(base, sizeof base, "base=%.250s/trunks/t5", golden_folder());
    test_folder(folder);
    snprintf(path, sizeof path, "%s/ids", folder);
    snprintf(ids, sizeof ids, "data.train={source: ids, path: %s}", path);
    snprintf(test, sizeof test, "data.test={source: ids, path: %s}", path);
    const double      must = write_golden(base + strlen("base="), path);
    const char *const golden[] = {base, ids, "data.shuffle=no", "train.batch_samples=3",
                                  test};
    open_run(&t, "seq2seq", 5, golden);
    const double loss = next_loss(&t);
    ck_assert_int_eq(t.x.f.b.n_seqs, 3);
    ck_assert_msg(fabs(loss / t.x.f.b.n_targets - must) < 1e-5 * must, "the loss is %.9g, must be %.9g",
                  loss / t.x.f.b.n_targets, must); /* of golden/trunks in f32 */
    close_run(&t);
    MUST_FAIL(refuse("masked_lm", golden[1]), "which only the objective seq2seq reads");
    unlink(path);
    rmdir(folder);
}
END_TEST

/* ---- a teacher ----------------------------------------------------------------------------------- */

/* Logits of a model at the targets of the micro-batch that is there, [n_targets, words]. */
static float *logits_of(run *t, model *m)
{
    stream s = {0};
    tape  *x;
    arena  step;

    MUST(tape_open(&x, TYPE_F32));
    feed_record(&t->x.f, x, &s);
    var *z = goal_logits(x, m, model_hidden(m, x, &s), &t->x.f);
    tape_keep(x, z);
    MUST(tape_plan(x, NULL, RECOMPUTE_NONE));
    MUST(arena_open(&step, "step", tape_step_bytes(x) + 4096));
    MUST(tape_bind(x, &step));
    tape_set_run(x, &t->x.run);
    tape_forward(x);
    float *out = arena_copy(&t->a, z->t.v, (size_t)(t->x.f.b.n_targets * m->words) * sizeof *out);
    ck_assert(out != NULL);
    tape_close(x);
    arena_close(&step);
    return out;
}

static double log_sum(const float *z, int64_t n, double temperature)
{
    double sum = 0;

    for (int64_t i = 0; i < n; i++)
        sum += exp((double)z[i] / temperature);
    return log(sum);
}

START_TEST(a_student_learns_from_words_and_teacher)
{
    static const char *const warm[] = {"objective.temperature=3"};
    double                   hard = 0, soft = 0;
    run                      t;

    open_run(&t, "distil", 1, warm);
    const double  loss = next_loss(&t);
    const batch  *b = &t.x.f.b;
    const int64_t V = t.in.s.m.words;
    const float  *x = logits_of(&t, &t.in.s.m), *y = logits_of(&t, &t.in.goal.teacher->m);

    ck_assert_int_gt(b->n_targets, 10);
    for (int i = 0; i < b->n_targets; i++, x += V, y += V) {
        hard += log_sum(x, V, 1) - (double)x[b->target_ids[i]];
        for (int64_t v = 0; v < V; v++) {
            const double p = (double)y[v] / 3 - log_sum(y, V, 3), q = (double)x[v] / 3 - log_sum(x, V, 3);
            soft += exp(p) * (p - q);
        }
    }
    ck_assert_double_gt(9 * soft, 0.1 * hard); /* the teacher is another model */
    same("distil", loss, 0.25 * hard + 0.75 * 9 * soft);
    close_run(&t);
}
END_TEST

START_TEST(what_does_not_fit_is_said)
{
    MUST_FAIL(refuse("span", "base=random:tests/data/tiny_llama.json"), "has no span head, but these: causal_lm");
    MUST_FAIL(refuse("span", "objective.answer=question"),
              "jsonl:1: question \"the swan\" does not stand at character 95");
    MUST_FAIL(refuse("span", "objective.context=story"), "has no field story");
    MUST_FAIL(refuse("span", "objective.start=question"), "question is \"the swan\", must be a number");
    MUST_FAIL(refuse("span", "objective.stride=15"), "stride is 15, must be less than what is left");
    MUST_FAIL(refuse("span", "data.overlong=error"), "has 29 tokens, length is 20");
    MUST_FAIL(refuse("span", "objective.metrics=[accuracy]"), "'accuracy' does not fit span");
    MUST_FAIL(refuse("distil", "objective={name: distil}"), "teacher");
    MUST_FAIL(refuse("distil", "objective.teacher=random:tests/data/tiny_t5.json"), "in teacher");
    MUST_FAIL(refuse("distil", "objective.teacher=random:tests/data/tiny_llama_words.json"),
              "has 300 words, the base has 320");
    MUST_FAIL(refuse("distil", "modules=[{name: main, method: prompt, at: embed_tokens, tokens: 4}]"),
              "has no place for what modules put");
    MUST_FAIL(refuse("seq2seq", "base=random:tests/data/tiny_llama.json"),
              "has no seq2seq head, but these: causal_lm");
    MUST_FAIL(refuse("seq2seq", "objective=causal_lm"), "has no causal_lm head, but these: seq2seq");
    MUST_FAIL(refuse("seq2seq", "data.template={prompt: \"{text}\"}"), "names no target");
    MUST_FAIL(refuse("seq2seq", "objective.source_pack=50"), "its part of a micro-batch is 50");
}
END_TEST

TESTS(answers, begin_and_end_are_cross_entropies_of_rows, windows_hold_a_context_and_its_answer,
      answers_may_be_lists, predicted_spans_are_the_best_of_all_windows, a_decoder_learns_the_target_and_the_end,
      an_encoder_is_asked_what_it_has_read, a_micro_batch_holds_so_many_tokens_of_prompts,
      pairs_of_three_attentions_are_counted,
      a_decoder_has_the_loss_of_the_reference, a_student_learns_from_words_and_teacher, what_does_not_fit_is_said)
