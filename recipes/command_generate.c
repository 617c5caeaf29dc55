/* generate: answers to prompts */
#include "recipes/commands.h"

#include "core/file.h"
#include "core/json.h"
#include "core/log.h"
#include "data/chat.h"
#include "recipes/decoder.h"
#include "recipes/session.h"

#include <string.h>

enum { PROMPTS_MAX = 4096, LINE_MAX_BYTES_ = 1 << 20 };

typedef struct asked {
    const char *text;
    prompt      p;
} asked;

/* A user's turn through the chat template; plain text when there is none, or it is not wanted. */
static status make_prompt(session *s, const generate_request *q, const char *text, asked *a)
{
    const char *template_text = s->words ? tokenizer_chat_template(s->words) : NULL;
    char       *rendered = (char *)(uintptr_t)text;
    size_t      n = strlen(text);
    int32_t    *ids;

    a->text = text;
    if (template_text && !q->plain) {
        cJSON *messages = cJSON_CreateArray(), *turn = cJSON_CreateObject();
        cJSON_AddStringToObject(turn, "role", "user");
        cJSON_AddStringToObject(turn, "content", text);
        cJSON_AddItemToArray(messages, turn);
        const int32_t bos = tokenizer_bos(s->words), eos = tokenizer_eos(s->words);
        size_t        length;
        const chat_extras extras = {
            .bos_token = bos >= 0 ? tokenizer_token(s->words, bos, &length) : NULL,
            .eos_token = eos >= 0 ? tokenizer_token(s->words, eos, &length) : NULL};
        const status done = chat_render(&s->setup, template_text, strlen(template_text), messages, true,
                                        &extras, &rendered, &n);
        cJSON_Delete(messages);
        TRY(done);
    }
    TRY(session_encode(s, &s->setup, rendered, n, rendered == text, &ids, &a->p.n));
    a->p.ids = ids;
    return a->p.n > 0 ? STATUS_OK : fail(STATUS_USAGE, "a prompt is empty");
}

/* The lines of stdin, blank ones left out. */
static status read_prompts(session *s, const char ***texts, int *n)
{
    char *line;

    *n = 0;
    TRY_TAKE(*texts, &s->setup, PROMPTS_MAX);
    TRY_TAKE(line, &s->setup, LINE_MAX_BYTES_);
    while (fgets(line, LINE_MAX_BYTES_, stdin)) {
        line[strcspn(line, "\r\n")] = '\0';
        if (!line[0])
            continue;
        if (*n == PROMPTS_MAX)
            return fail(STATUS_USAGE, "more than %d prompts on stdin", PROMPTS_MAX);
        (*texts)[*n] = arena_string(&s->setup, line, strlen(line));
        if (!(*texts)[(*n)++])
            return STATUS_MEMORY;
    }
    return *n > 0 ? STATUS_OK : fail(STATUS_USAGE, "no prompt: give --prompt TEXT, or lines on stdin");
}

static status print_answer(session *s, const generate_request *q, const asked *a, const decoded *d,
                           const decode_times *t, FILE *out)
{
    char  *text;
    size_t length;

    TRY(session_decode(s, &s->setup, d->ids, d->n, &text, &length));
    if (!q->json) {
        fwrite(text, 1, length, out);
        fputc('\n', out);
        return STATUS_OK;
    }
    const char *prompt_text = json_quote(&s->setup, a->text, strlen(a->text));
    const char *answer = json_quote(&s->setup, text, length);
    if (!prompt_text || !answer)
        return STATUS_MEMORY;
    fprintf(out, "{\"prompt\": %s, \"text\": %s, \"prompt_tokens\": %lld, \"ids\": [", prompt_text,
            answer, (long long)a->p.n);
    for (int64_t i = 0; i < d->n; i++)
        fprintf(out, i ? ", %d" : "%d", d->ids[i]);
    fprintf(out, "], \"ended\": %s, \"smallest_margin\": %.6g, \"prompt_seconds\": %.6f, "
            "\"token_seconds\": %.6f, \"tokens\": %lld}\n",
            d->ended ? "true" : "false", q->temperature > 0 ? 0.0 : d->margin, t->prompt_seconds,
            t->token_seconds, (long long)t->tokens);
    return STATUS_OK;
}

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

static status generate(session *s, const generate_request *q, FILE *out)
{
    const char       **texts = (const char **)(uintptr_t)q->prompts;
    int                n = q->n_prompts;
    int32_t            ends[4];
    decode_times       times;
    asked             *a;
    decoded           *d;
    prompt            *p;
    const decode_options o = {.max_tokens = q->max_tokens, .ignore_end = q->ignore_end, .ends = ends,
                              .n_ends = 0, .temperature = q->temperature, .top_k = q->top_k,
                              .top_p = q->top_p, .seed = (uint64_t)q->seed};
    decode_options       with_ends = o;

    TRY(check_base(s, q->base));
    TRY(session_base(s, q->base, 0, false));
    if (q->adapter)
        TRY(session_adapter(s, q->adapter, q->force));
    if (n == 0)
        TRY(read_prompts(s, &texts, &n));
    TRY(session_hold(s));
    with_ends.n_ends = session_ends(s, ends);
    TRY_TAKE(a, &s->setup, n);
    TRY_TAKE(d, &s->setup, n);
    TRY_TAKE(p, &s->setup, n);
    for (int i = 0; i < n; i++) {
        TRY(make_prompt(s, q, texts[i], &a[i]));
        p[i] = a[i].p;
        p[i].task = (int32_t)q->task;
    }
    TRY(decode(&s->setup, &s->m, p, n, &with_ends, d, &times));
    for (int i = 0; i < n; i++)
        TRY(print_answer(s, q, &a[i], &d[i], &times, out));
    log_debug("%lld prompt tokens in %.2f s, %lld tokens in %.2f s", (long long)times.prompt_tokens,
              times.prompt_seconds, (long long)times.tokens, times.token_seconds);
    return STATUS_OK;
}

status command_generate(const generate_request *q, FILE *out)
{
    session s;

    TRY(session_open(&s));
    const status done = generate(&s, q, out);
    session_close(&s);
    return done;
}
