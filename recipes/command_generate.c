/* generate: answers to prompts, or a chat */
#include "recipes/commands.h"

#include "core/file.h"
#include "core/json.h"
#include "core/log.h"
#include "recipes/answer_text.h"
#include "recipes/chat.h"
#include "recipes/prompts.h"

#include <stdlib.h>
#include <string.h>

typedef struct generation {
    session                 *s;
    const generate_request  *q;
    FILE                    *out;
    arena                    work;   /* texts of answers that grow */
    asked                   *asked;  /* all of them */
    int                      n, first; /* first: of the batch */
    size_t                  *printed;  /* bytes of each answer */
} generation;

/* A run folder holds an adapter, not a trunk. */
static status check_base(session *s, const char *base)
{
    const char *recipe = arena_printf(&s->setup, "%s/recipe.yaml", base);

    if (!recipe)
        return STATUS_MEMORY;
    if (path_is_folder(base) && path_exists(recipe))
        return fail(STATUS_USAGE, "generate: %s is a run; name the trunk that %s says (`base`), and the "
                    "adapter: ./cambium generate BASE --adapter %s/adapter", base, recipe, base);
    return STATUS_OK;
}

/* ---- output ---------------------------------------------------------------------------------------------------- */

/* Bytes from..to of the answer to prompt `number`, at once. */
static status print_piece(generation *g, int number, const char *text, size_t from, size_t to)
{
    if (to <= from)
        return STATUS_OK;
    if (g->q->json) {
        const char *piece = json_quote(&g->work, text + from, to - from);
        if (!piece)
            return STATUS_MEMORY;
        fprintf(g->out, "{\"number\": %d, \"piece\": %s}\n", number, piece);
    } else
        fwrite(text + from, 1, to - from, g->out);
    fflush(g->out);
    g->printed[number] = to;
    return STATUS_OK;
}

static status watch(void *context, int64_t prompt, const decoded *so_far, bool *stop)
{
    generation *g = context;
    const int   number = g->first + (int)prompt;
    answer_text x;

    arena_rewind(&g->work, 0);
    TRY(answer_text_of(g->s, &g->work, so_far->ids, so_far->n, &g->q->stops, &x));
    *stop = x.stopped;
    return g->q->stream ? print_piece(g, number, x.text, g->printed[number], x.sure) : STATUS_OK;
}

static const char *why_ended(const decoded *d)
{
    return d->ended ? "end" : d->stopped ? "stop" : "length";
}

static status print_object(generation *g, int number, const decoded *d, const answer_text *x, const decode_times *t)
{
    const asked *a = &g->asked[number];
    const char  *prompt_text = json_quote(&g->work, a->text, strlen(a->text));
    const char  *answer = json_quote(&g->work, x->text, x->length);

    if (!prompt_text || !answer)
        return STATUS_MEMORY;
    fprintf(g->out, "{\"number\": %d, \"prompt\": %s, \"text\": %s, \"prompt_tokens\": %lld, \"ids\": [", number,
            prompt_text, answer, (long long)a->p.n);
    for (int64_t i = 0; i < d->n; i++)
        fprintf(g->out, i ? ", %d" : "%d", d->ids[i]);
    fprintf(g->out, "], \"ended\": %s, \"finish\": \"%s\", ", d->ended ? "true" : "false", why_ended(d));
    if (g->q->beams.n > 1)
        fprintf(g->out, "\"score\": %.6g, ", d->score);
    else
        fprintf(g->out, "\"smallest_margin\": %.6g, ", g->q->choose.temperature > 0 ? 0.0 : d->margin);
    fprintf(g->out, "\"prompt_seconds\": %.6f, \"token_seconds\": %.6f, \"tokens\": %lld}\n", t->prompt_seconds,
            t->token_seconds, (long long)t->tokens);
    return STATUS_OK;
}

static status print_answer(generation *g, int number, const decoded *d, const decode_times *t)
{
    answer_text x;

    arena_rewind(&g->work, 0);
    TRY(answer_text_of(g->s, &g->work, d->ids, d->n, &g->q->stops, &x));
    if (g->q->json)
        TRY(print_object(g, number, d, &x, t));
    else {
        TRY(print_piece(g, number, x.text, g->printed[number], x.length));
        fputc('\n', g->out);
    }
    fflush(g->out);
    return STATUS_OK;
}

/* ---- the work -------------------------------------------------------------------------------------------------- */

/* Prompts from g->first on, so many. */
static status answer_batch(generation *g, int n)
{
    const generate_request *q = g->q;
    arena                  *a = &g->s->setup;
    const size_t            mark = arena_mark(a);
    int32_t                 ends[4];
    decode_options          o = {.max_tokens = q->max_tokens, .ignore_end = q->ignore_end, .ends = ends,
                                 .choose = q->choose, .beams = q->beams, .number = g->first, .context = g};
    decode_times            times;
    decoded                *d;
    prompt                 *p;

    o.n_ends = session_ends(g->s, ends);
    if (q->stream || q->stops.n > 0)
        o.watch = watch;
    TRY_TAKE(d, a, n);
    TRY_TAKE(p, a, n);
    for (int i = 0; i < n; i++) {
        TRY(prompts_encode(g->s, q->system, q->plain, &g->asked[g->first + i]));
        p[i] = g->asked[g->first + i].p;
        p[i].task = (int32_t)q->task;
    }
    TRY(decode(a, &g->s->m, p, n, &o, d, &times));
    for (int i = 0; i < n; i++)
        TRY(print_answer(g, g->first + i, &d[i], &times));
    log_debug("%lld prompt tokens in %.2f s, %lld tokens in %.2f s", (long long)times.prompt_tokens,
              times.prompt_seconds, (long long)times.tokens, times.token_seconds);
    arena_rewind(a, mark);
    return STATUS_OK;
}

/* Text that appears as it is made is one answer after another. */
static status answer_all(generation *g)
{
    const int batch = g->q->stream && !g->q->json ? 1 : (int)g->q->batch;

    TRY_TAKE(g->printed, &g->s->setup, g->n);
    memset(g->printed, 0, (size_t)g->n * sizeof *g->printed);
    for (; g->first < g->n; g->first += batch)
        TRY(answer_batch(g, g->n - g->first < batch ? g->n - g->first : batch));
    return STATUS_OK;
}

static status generate(generation *g)
{
    const generate_request *q = g->q;
    session                *s = g->s;

    TRY(check_base(s, q->base));
    TRY(session_base(s, q->base, 0, false));
    if (q->adapter)
        TRY(session_adapter(s, q->adapter, q->force));
    if (!q->chat)
        TRY(prompts_read(&s->setup, &q->prompts, &g->asked, &g->n));
    TRY(session_hold(s));
    if (q->chat)
        return chat_run(s, q, stdin, g->out);
    TRY(arena_open(&g->work, "answers", (size_t)16 << 30));
    return answer_all(g);
}

static status check_chat(const generate_request *q)
{
    const char *const other = q->prompts.n_texts > 0 ? "--prompt"
                              : q->prompts.file      ? "--prompts"
                              : q->plain             ? "--plain"
                              : q->json              ? "--json"
                              : q->beams.n > 1       ? "--beams"
                                                     : NULL;

    if (q->chat && other)
        return fail(STATUS_USAGE, "generate: --chat answers lines of standard input as they come, which %s does not "
                    "go with; leave one out", other);
    if (!q->chat && q->context > 0)
        return fail(STATUS_USAGE, "generate: --context is the room of a conversation; it goes with --chat");
    return STATUS_OK;
}

static status check_request(const generate_request *q)
{
    for (int i = 0; i < q->stops.n; i++)
        if (!*q->stops.v[i])
            return fail(STATUS_USAGE, "generate: --stop is empty, must be a text");
    if (q->beams.n > 1 && (q->choose.temperature > 0 || q->stream))
        return fail(STATUS_USAGE, "generate: --beams searches for the likeliest answer, which %s; leave one out",
                    q->stream ? "is known at its end: --stream has nothing to print"
                              : "--temperature draws by chance");
    if (q->plain && q->system)
        return fail(STATUS_USAGE, "generate: --system is a turn of a conversation, --plain makes none; leave one "
                    "out");
    return check_chat(q);
}

status command_generate(const generate_request *q, FILE *out)
{
    session    s;
    generation g = {.s = &s, .q = q, .out = out};

    TRY(check_request(q));
    TRY(session_open(&s));
    const status done = generate(&g);
    session_close(&s);
    arena_close(&g.work);
    return done;
}
