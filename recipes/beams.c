/* beams: candidates, answers, and when to stop */
#include "recipes/beams.h"

#include <math.h>
#include <string.h>

static status open_list(const beams *b, arena *a, int64_t n, beam **out)
{
    TRY_TAKE(*out, a, n);
    for (int64_t i = 0; i < n; i++) {
        int32_t *ids;
        TRY_TAKE(ids, a, b->given + b->o->max_tokens);
        (*out)[i] = (beam){.ids = ids + b->given};
    }
    return STATUS_OK;
}

status beams_open(beams *b, arena *a, const decode_options *o, const int32_t *given, int64_t n, int64_t number)
{
    const int64_t ends = o->ignore_end ? 0 : o->n_ends;
    beam         *trial;

    CHECK(o->choose.temperature <= 0);
    *b = (beams){.o = o, .given = n, .width = (ends > 1 ? 1 + ends : 2) * o->beams.n, .number = number};
    TRY(open_list(b, a, o->beams.n, &b->running));
    TRY(open_list(b, a, o->beams.n, &b->next));
    TRY(open_list(b, a, o->beams.n, &b->answers));
    TRY(open_list(b, a, 1, &trial));
    TRY_TAKE(b->candidates, a, b->width);
    b->trial = *trial;
    memcpy(b->running[0].ids - n, given, (size_t)n * sizeof *given);
    b->n_running = 1;
    b->done = o->max_tokens == 0;
    return STATUS_OK;
}

/* Everything but the place where the tokens lie. */
static void copy(const beams *b, beam *to, const beam *from)
{
    int32_t *ids = to->ids;

    memcpy(ids - b->given, from->ids - b->given, (size_t)(b->given + from->n) * sizeof *ids);
    *to = *from;
    to->ids = ids;
}

/* ---- candidates ---------------------------------------------------------------------------------------------- */

static void to_log_probabilities(float *x, int64_t n)
{
    double sum = 0;
    float  most = x[0];

    for (int64_t i = 1; i < n; i++)
        most = x[i] > most ? x[i] : most;
    for (int64_t i = 0; i < n; i++)
        sum += exp((double)x[i] - (double)most);
    const double off = (double)most + log(sum);
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)((double)x[i] - off);
}

/* Keeps the best, in order; of equals those that came first. */
static void offer(beams *b, beam_candidate c)
{
    int64_t i = b->n_candidates;

    if (i == b->width && !(c.score > b->candidates[--i].score))
        return;
    for (; i > 0 && c.score > b->candidates[i - 1].score; i--)
        b->candidates[i] = b->candidates[i - 1];
    b->candidates[i] = c;
    b->n_candidates += b->n_candidates < b->width;
}

static void find_candidates(beams *b, sampler *s, float *logits)
{
    b->n_candidates = 0;
    for (int64_t r = 0; r < b->n_running; r++) {
        const beam *x = &b->running[r];
        float      *row = logits + r * s->words;
        to_log_probabilities(row, s->words);
        sampler_process(s, row, x->ids - b->given, b->given + b->length);
        for (int64_t i = 0; i < s->words; i++)
            if (row[i] > -INFINITY)
                offer(b, (beam_candidate){x->score + (double)row[i], (int32_t)r, (int32_t)i});
    }
}

/* ---- answers ------------------------------------------------------------------------------------------------- */

/* The candidate as b->trial. */
static status make_trial(beams *b, const beam_candidate *c)
{
    beam *x = &b->trial;

    copy(b, x, &b->running[c->parent]);
    x->parent = c->parent;
    x->score = c->score;
    x->ended = decode_ends_with(b->o, c->id);
    x->stopped = false;
    if (x->ended)
        return STATUS_OK;
    x->ids[x->n++] = c->id;
    if (!b->o->watch)
        return STATUS_OK;
    const decoded so_far = {.ids = x->ids, .n = x->n};
    return b->o->watch(b->o->context, b->number, &so_far, &x->stopped);
}

static double penalised(const beams *b, double score, int64_t length)
{
    return score / pow((double)length, b->o->beams.length_penalty);
}

static bool is_full(const beams *b)
{
    return b->n_answers == b->o->beams.n;
}

/* The trial among the answers, if it is good enough. */
static void keep_answer(beams *b)
{
    const double score = penalised(b, b->trial.score, b->length + 1);
    int64_t      i = b->n_answers;

    if (is_full(b) && !(score > b->answers[--i].score))
        return;
    beam place = b->answers[i];
    copy(b, &place, &b->trial);
    place.score = score;
    for (; i > 0 && score > b->answers[i - 1].score; i--)
        b->answers[i] = b->answers[i - 1];
    b->answers[i] = place;
    b->n_answers += b->n_answers < b->o->beams.n;
}

/* ---- a step -------------------------------------------------------------------------------------------------- */

/* The best candidates become answers, the best that do not end the next beams. */
static status share_candidates(beams *b)
{
    const int64_t most = b->o->beams.n;
    const bool    last = b->length + 1 == b->o->max_tokens;
    int64_t       n = 0;

    for (int64_t i = 0; i < b->n_candidates && (i < most || (n < most && !last)); i++) {
        TRY(make_trial(b, &b->candidates[i]));
        if (!last && !b->trial.ended && !b->trial.stopped)
            copy(b, &b->next[n++], &b->trial);
        else if (i < most)
            keep_answer(b);
    }
    if (n == 0 && b->n_answers == 0) { /* no token may follow */
        copy(b, &b->trial, &b->running[0]);
        b->trial.ended = true;
        keep_answer(b);
    }
    b->n_running = n;
    return STATUS_OK;
}

/* Is the search over? As in transformers an answer is compared with the best beam's score over the length that it
 * has now, or over the longest that it may get where that is more. */
static bool is_over(const beams *b)
{
    const beam_options *o = &b->o->beams;
    const int64_t       longest = o->stop == BEAM_STOP_SURE && o->length_penalty > 0 ? b->o->max_tokens : b->length;

    if (b->n_running == 0)
        return true;
    if (!is_full(b))
        return false;
    return o->stop == BEAM_STOP_FULL ||
           !(penalised(b, b->running[0].score, longest) > b->answers[b->n_answers - 1].score);
}

status beams_step(beams *b, sampler *s, float *logits)
{
    beam *running = b->running;

    CHECK(!b->done);
    find_candidates(b, s, logits);
    TRY(share_candidates(b));
    b->running = b->next;
    b->next = running;
    b->length++;
    b->done = is_over(b);
    return STATUS_OK;
}

const beam *beams_best(const beams *b)
{
    return b->n_answers > 0 ? &b->answers[0] : &b->running[0];
}
