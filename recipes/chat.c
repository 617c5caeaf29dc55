/* chat: lines to turns, and turns to answers */
#include "recipes/chat.h"

#include "core/log.h"
#include "recipes/answer_text.h"
#include "recipes/signals.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ROOM = 4096 }; /* tokens of a conversation, unless told otherwise */

typedef struct chat {
    session                *s;
    const generate_request *q;
    FILE                   *in, *out;
    bool                    asks; /* a person types at a terminal */
    arena                   turn; /* text and tokens of one */
    conversation           *c;
    cJSON                  *messages;
    int64_t                 room, turns;
    int32_t                 ends[4];
    size_t                  printed; /* bytes of this answer */
    char                   *line;
    size_t                  line_room;
} chat;

/* ---- an answer ----------------------------------------------------------------------------------------------- */

static void print_to(chat *x, const char *text, size_t to)
{
    if (to > x->printed) {
        fwrite(text + x->printed, 1, to - x->printed, x->out);
        x->printed = to;
    }
    fflush(x->out);
}

static status watch(void *context, int64_t number, const decoded *so_far, bool *stop)
{
    chat        *x = context;
    const size_t mark = arena_mark(&x->turn);
    answer_text  text;

    (void)number;
    TRY(answer_text_of(x->s, &x->turn, so_far->ids, so_far->n, &x->q->stops, &text));
    print_to(x, text.text, text.sure);
    arena_rewind(&x->turn, mark);
    *stop = text.stopped || signals_stop_requested();
    return STATUS_OK;
}

static status print_answer(chat *x, const decoded *d)
{
    answer_text text;

    TRY(answer_text_of(x->s, &x->turn, d->ids, d->n, &x->q->stops, &text));
    print_to(x, text.text, text.length);
    fputc('\n', x->out);
    fflush(x->out);
    const char *said = arena_string(&x->turn, text.text, text.length);
    return said ? prompts_say(x->messages, "assistant", said) : STATUS_MEMORY;
}

static status answer(chat *x, const prompt *p)
{
    const int64_t  left = x->room - p->n;
    decode_options o = {.max_tokens = x->q->max_tokens, .ignore_end = x->q->ignore_end, .ends = x->ends,
                        .choose = x->q->choose, .number = x->turns++, .watch = watch, .context = x};
    decode_times   times;
    decoded        d;

    if (o.max_tokens == 0 || o.max_tokens > left)
        o.max_tokens = left;
    o.n_ends = session_ends(x->s, x->ends);
    x->printed = 0;
    signals_forget();
    TRY(conversation_answer(x->c, &x->turn, p, &o, &d, &times));
    TRY(print_answer(x, &d));
    log_debug("%lld tokens read in %.2f s, %lld made in %.2f s; %lld of %lld are in use",
              (long long)times.prompt_tokens, times.prompt_seconds, (long long)d.n, times.token_seconds,
              (long long)(p->n + d.n), (long long)x->room);
    return STATUS_OK;
}

/* ---- turns --------------------------------------------------------------------------------------------------- */

static status begin(chat *x)
{
    cJSON_Delete(x->messages);
    x->messages = cJSON_CreateArray();
    return x->q->system ? prompts_say(x->messages, "system", x->q->system) : STATUS_OK;
}

static status take_turn(chat *x, const char *text)
{
    prompt p = {.task = (int32_t)x->q->task};

    arena_rewind(&x->turn, 0);
    TRY(prompts_say(x->messages, "user", text));
    TRY(prompts_chat(x->s, &x->turn, x->messages, &p));
    if (p.n < x->room)
        return answer(x, &p);
    cJSON_DeleteItemFromArray(x->messages, cJSON_GetArraySize(x->messages) - 1);
    log_warn("with this turn the conversation has %lld tokens, and room for %lld with an answer: it was left out; "
             "/new begins another conversation, --context makes room", (long long)p.n, (long long)x->room);
    return STATUS_OK;
}

/* Until a line was typed. SIGINT drops what was begun of it. */
static void wait_for_line(const chat *x)
{
    struct pollfd ready = {.fd = fileno(x->in), .events = POLLIN};

    signals_forget();
    fputs("> ", stderr);
    while (poll(&ready, 1, -1) < 0 && errno == EINTR)
        if (signals_stop_requested()) {
            signals_forget();
            fputs("\nCtrl-D ends\n> ", stderr);
        }
}

/* The next line without its end, x->line; false: there is none. */
static bool read_line(chat *x)
{
    if (x->asks)
        wait_for_line(x);
    ssize_t n = getline(&x->line, &x->line_room, x->in);
    if (n < 0 && x->asks)
        fputc('\n', stderr);
    for (; n > 0 && strchr("\r\n", x->line[n - 1]); n--)
        x->line[n - 1] = '\0';
    return n >= 0;
}

static status talk(chat *x)
{
    TRY(begin(x));
    if (x->asks)
        log_info("a conversation with %s, up to %lld tokens: Ctrl-C stops an answer, /new begins another "
                 "conversation, Ctrl-D ends", x->s->base, (long long)x->room);
    while (read_line(x))
        if (strcmp(x->line, "/new") == 0)
            TRY(begin(x));
        else if (x->line[0])
            TRY(take_turn(x, x->line));
    return ferror(x->in) ? fail(STATUS_IO, "the user's lines cannot be read") : STATUS_OK;
}

/* ---- from beginning to end ----------------------------------------------------------------------------------- */

static status open(chat *x)
{
    const model_front front = model_in_front(&x->s->m);
    const int64_t     most = x->s->m.positions - front.tokens - front.positions;

    if (!x->s->words || !tokenizer_chat_template(x->s->words))
        return fail(STATUS_USAGE, "%s has no chat template, which --chat needs; --plain --prompt TEXT continues a "
                    "text", x->s->base);
    x->room = x->q->context > 0 ? x->q->context : most < ROOM ? most : ROOM;
    TRY(arena_open(&x->turn, "turn", (size_t)16 << 30));
    return conversation_open(&x->s->setup, &x->s->m, x->room, &x->c);
}

status chat_run(session *s, const generate_request *q, FILE *in, FILE *out)
{
    chat   x = {.s = s, .q = q, .in = in, .out = out, .asks = isatty(fileno(in))};
    status done = open(&x);

    signals_only_ask();
    if (done == STATUS_OK)
        done = talk(&x);
    free(x.line);
    cJSON_Delete(x.messages);
    conversation_close(x.c);
    arena_close(&x.turn);
    return done;
}
