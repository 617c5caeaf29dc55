/* answers: greedy decoding of test prompts in batches */
#include "recipes/answers.h"

#include "core/log.h"
#include "recipes/decoder.h"

#include <string.h>

enum { ANSWER_BATCH = 16 };

static status decode_batch(session *s, const question *q, int64_t n, const decode_options *o,
                           answer *out)
{
    prompt       prompts[ANSWER_BATCH];
    decoded      got[ANSWER_BATCH];
    decode_times times;

    CHECK(n > 0 && n <= ANSWER_BATCH);
    for (int64_t i = 0; i < n; i++)
        prompts[i] = (prompt){q[i].ids, q[i].n, q[i].task};
    TRY(decode(&s->setup, &s->m, prompts, n, o, got, &times));
    for (int64_t i = 0; i < n; i++) {
        char *text;
        TRY(session_decode(s, &s->setup, got[i].ids, got[i].n, &text, &out[i].length));
        out[i].text = text;
    }
    return STATUS_OK;
}

status answers_make(session *s, const question *q, int64_t n, int64_t max_tokens, answer **out)
{
    int32_t        ends[4];
    decode_options o = {.max_tokens = max_tokens, .ends = ends};

    o.n_ends = session_ends(s, ends);
    TRY_TAKE(*out, &s->setup, n);
    for (int64_t i = 0; i < n; i += ANSWER_BATCH)
        TRY(decode_batch(s, q + i, n - i < ANSWER_BATCH ? n - i : ANSWER_BATCH, &o, *out + i));
    return STATUS_OK;
}

static status score(arena *a, const question *q, const answer *answers, int64_t n, const char *metric,
                    int64_t resamples, uint64_t seed, metric_result *f)
{
    metric_tally t;

    TRY(metric_open(&t, a, metric, METRIC_TEXTS, NULL, n));
    for (int64_t i = 0; i < n; i++)
        TRY(metric_add_text(&t, (metric_text){answers[i].text, answers[i].length},
                            &(metric_text){q[i].truth, q[i].truth_length}, 1));
    return metric_result_of(&t, seed, resamples, f);
}

status answers_score(arena *a, const question *q, const answer *answers, int64_t n, const answer_options *o,
                     uint64_t seed, metric_result **out)
{
    TRY_TAKE(*out, a, o->metrics.n);
    for (int i = 0; i < o->metrics.n; i++) {
        const size_t mark = arena_mark(a);
        TRY(score(a, q, answers, n, o->metrics.v[i], o->resamples, seed, &(*out)[i]));
        arena_rewind(a, mark);
    }
    return STATUS_OK;
}

/* One line of text: white space and control characters become single blanks; cut at `room` bytes. */
static void one_line(const char *text, size_t n, char *out, size_t room)
{
    size_t k = 0;

    for (size_t i = 0; i < n && k + 8 < room; i++) {
        const unsigned char c = (unsigned char)text[i];
        if (c > ' ' && c != 0x7F)
            out[k++] = (char)c;
        else if (k > 0 && out[k - 1] != ' ')
            out[k++] = ' ';
    }
    while (k > 0 && ((unsigned char)out[k - 1] & 0xC0) == 0x80 && k + 8 >= room)
        k--; /* not in the middle of a character */
    if (k + 8 >= room)
        strcpy(out + k, "...");
    else
        out[k] = '\0';
}

static void print_answer(const char *label, const answer *a)
{
    char line[100];

    if (!a)
        return;
    one_line(a->text, a->length, line, sizeof line);
    log_info("  %-7s %s", label, line[0] ? line : "(nothing)");
}

void answers_print(const question *q, int64_t show, const answer *before, const answer *after)
{
    for (int64_t i = 0; i < show; i++) {
        const answer truth = {q[i].truth, q[i].truth_length};
        log_info("%s", q[i].name);
        print_answer("before", before ? &before[i] : NULL);
        print_answer("after", after ? &after[i] : NULL);
        print_answer("truth", &truth);
    }
}
