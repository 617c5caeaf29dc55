/* tokenize: text to ids and back on one thread, whole and by line */
#include "bench/bench.h"

#include "core/file.h"
#include "recipes/session.h"

#include <string.h>

enum { TEXT_MAX = 1 << 30 };

typedef struct tokenizing {
    session    *s;
    const char *text;
    size_t      n;
    bool        by_line, back;
    int32_t    *ids; /* back: of the whole text */
    int64_t     n_ids;
} tokenizing;

static status run(void *context, reading *r)
{
    tokenizing  *x = context;
    arena       *a = &x->s->setup;
    const size_t mark = arena_mark(a);
    const double from = bench_now();
    int32_t     *ids;
    int64_t      count;
    char        *text;
    size_t       length;

    if (x->back)
        TRY(session_decode(x->s, a, x->ids, x->n_ids, &text, &length));
    else if (!x->by_line)
        TRY(session_encode(x->s, a, x->text, x->n, false, &ids, &count));
    for (size_t at = 0, n; x->by_line && at < x->n; at += n) {
        const char *end = memchr(x->text + at, '\n', x->n - at);
        n = end ? (size_t)(end - x->text) + 1 - at : x->n - at;
        TRY(session_encode(x->s, a, x->text + at, n, false, &ids, &count));
        arena_rewind(a, mark);
    }
    *r = (reading){.seconds = bench_now() - from, .amount = 1e-6 * (double)x->n};
    arena_rewind(a, mark);
    return STATUS_OK;
}

static status measure(bench *b, tokenizing *x)
{
    const char *path = b->o.file ? b->o.file : BENCH_SOURCE "/README.md";
    char       *text;

    TRY(session_base(x->s, b->o.base, 0, false));
    TRY(file_read(&x->s->setup, path, TEXT_MAX, &text, &x->n));
    x->text = text;
    TRY(session_encode(x->s, &x->s->setup, x->text, x->n, false, &x->ids, &x->n_ids));
    for (int i = 0; i < 3; i++) {
        static const char *const names[] = {"encode, whole", "encode, by line", "decode"};
        figure *f;
        x->by_line = i == 1;
        x->back = i == 2;
        TRY(bench_time(
            b, &(timed){.what = names[i], .unit = "MB/s", .threads = 1, .run = run, .context = x,
                        .ceiling = CEILING_FMA, .beside = true},
            &f));
        TRY(bench_note(b, f, "%lld bytes, %lld tokens", (long long)x->n, (long long)x->n_ids));
    }
    return STATUS_OK;
}

status bench_tokenize(bench *b)
{
    session    s;
    tokenizing x = {.s = &s};

    TRY(session_open(&s));
    const status done = measure(b, &x);
    session_close(&s);
    return done;
}
