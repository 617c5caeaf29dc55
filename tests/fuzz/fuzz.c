/* fuzz: the pool and the loop */
#include "tests/fuzz/fuzz.h"
#include "tests/helpers.h"

#include "core/file.h"

#include <time.h>

enum { POOL_MAX = 4096, INPUT_MAX = 1 << 16, KEEP_MAX = 1 << 13 };

typedef struct input {
    uint8_t *v;
    size_t   n;
} input;

struct fuzz_pool {
    fuzz_reader reader;
    arena       own, work;
    char        folder[64];
    const char *path;
    input       inputs[POOL_MAX];
    int         n, seeds;
    uint64_t    seen[2 * POOL_MAX]; /* hashes of messages, open addressing; 0: empty */
    int         n_seen;
    uint64_t    state; /* of the random numbers */
};

static uint64_t next_random(fuzz_pool *p)
{
    /* xorshift64*: Marsaglia 2003, Vigna 2016 */
    p->state ^= p->state >> 12;
    p->state ^= p->state << 25;
    p->state ^= p->state >> 27;
    return p->state * 0x2545F4914F6CDD1Du;
}

static size_t below(fuzz_pool *p, size_t n)
{
    return n ? (size_t)(next_random(p) % n) : 0;
}

fuzz_pool *fuzz_open(const fuzz_reader *r)
{
    static fuzz_pool pool;
    fuzz_pool       *p = &pool;

    *p = (fuzz_pool){.reader = *r, .state = 0x9E3779B97F4A7C15u};
    MUST(arena_open(&p->own, "pool", (size_t)1 << 30));
    MUST(arena_open(&p->work, "work", r->memory));
    test_folder(p->folder);
    p->path = path_join(&p->own, p->folder, r->file);
    ck_assert_ptr_nonnull(p->path);
    return p;
}

const char *fuzz_folder(const fuzz_pool *p)
{
    return p->folder;
}

void fuzz_add(fuzz_pool *p, const void *bytes, size_t n)
{
    if (p->n == POOL_MAX)
        return;
    ck_assert_int_le((long)n, INPUT_MAX);
    p->inputs[p->n] = (input){arena_copy(&p->own, bytes, n), n};
    ck_assert_ptr_nonnull(p->inputs[p->n].v);
    p->n++;
}

void fuzz_add_file(fuzz_pool *p, const char *path)
{
    char  *text;
    size_t n;

    MUST(file_read(&p->own, path, INPUT_MAX, &text, &n));
    fuzz_add(p, text, n);
}

/* ---- one input from others ------------------------------------------------------------------------ */

/* Puts n bytes at a place, moving what follows. */
static size_t insert(uint8_t *v, size_t length, size_t at, const void *bytes, size_t n)
{
    if (length + n > INPUT_MAX)
        return length;
    memmove(v + at + n, v + at, length - at);
    memcpy(v + at, bytes, n);
    return length + n;
}

static size_t put_word(fuzz_pool *p, uint8_t *v, size_t n)
{
    size_t count = 0;

    while (p->reader.words[count])
        count++;
    const char *word = p->reader.words[below(p, count)];
    return insert(v, n, below(p, n + 1), word, strlen(word));
}

static size_t mix(fuzz_pool *p, uint8_t *v, size_t n)
{
    const input *other = &p->inputs[below(p, (size_t)p->n)];
    const size_t from = below(p, other->n),
                 length = 1 + below(p, other->n - from < 256 ? other->n - from : 256);

    return other->n ? insert(v, n, below(p, n + 1), other->v + from, length) : n;
}

/* A figure becomes another one, or many. */
static size_t change_number(fuzz_pool *p, uint8_t *v, size_t n)
{
    static const char *const numbers[] = {"0",
                                          "-1",
                                          "1",
                                          "65536",
                                          "2147483648",
                                          "4294967295",
                                          "9223372036854775807",
                                          "18446744073709551615",
                                          "1e999",
                                          "-0.0",
                                          "0.5",
                                          "1e-320",
                                          "nan"};
    size_t at = below(p, n), end;

    while (at < n && (v[at] < '0' || v[at] > '9'))
        at++;
    for (end = at; end < n && v[end] >= '0' && v[end] <= '9';)
        end++;
    if (at == n)
        return n;
    memmove(v + at, v + end, n - end);
    const char *number = numbers[below(p, sizeof numbers / sizeof *numbers)];
    return insert(v, n - (end - at), at, number, strlen(number));
}

static size_t change(fuzz_pool *p, uint8_t *v, size_t n)
{
    static const uint64_t telling[] = {0,          1,          255,        1u << 31, 0xFFFFFFFFu,
                                       1ull << 32, 1ull << 61, 1ull << 63, ~0ull,    ~0ull - 7};
    const size_t at = below(p, n), length = 1 + below(p, n - at < 64 ? n - at : 64);
    uint8_t      copy[64];

    if (n == 0)
        return put_word(p, v, n);
    switch (below(p, 9)) {
    case 0:
        v[at] = (uint8_t)next_random(p);
        return n;
    case 1:
        v[at] ^= (uint8_t)(1u << below(p, 8));
        return n;
    case 2: { /* a number of 4 or 8 bytes */
        const uint64_t number = telling[below(p, sizeof telling / sizeof *telling)];
        const size_t   bytes = below(p, 2) ? 4 : 8;
        memcpy(v + at, &number, n - at < bytes ? n - at : bytes);
        return n;
    }
    case 3:
        memmove(v + at, v + at + length, n - at - length);
        return n - length;
    case 4:
        memcpy(copy, v + at, length);
        return insert(v, n, below(p, n), copy, length);
    case 5:
        return put_word(p, v, n);
    case 6:
        return mix(p, v, n);
    case 7:
        return change_number(p, v, n);
    default: /* cut */
        return below(p, 8) ? n : at;
    }
}

/* ---- the loop ------------------------------------------------------------------------------------ */

static double now(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* A message without its figures and what it quotes: FNV-1a. */
static uint64_t message_of(const char *text)
{
    uint64_t h = 14695981039346656037u;
    bool     quoted = false;

    for (; *text; text++) {
        quoted ^= *text == '"';
        if (!quoted && (*text < '0' || *text > '9'))
            h = (h ^ (uint8_t)*text) * 1099511628211u;
    }
    return h ? h : 1;
}

static bool is_new(fuzz_pool *p, uint64_t message)
{
    size_t at = message % (2 * POOL_MAX);

    for (; p->seen[at]; at = (at + 1) % (2 * POOL_MAX))
        if (p->seen[at] == message)
            return false;
    if (p->n_seen == POOL_MAX)
        return false;
    p->seen[at] = message;
    p->n_seen++;
    return true;
}

static status read_input(fuzz_pool *p, const uint8_t *v, size_t n)
{
    const double started = now(CLOCK_PROCESS_CPUTIME_ID);
    FILE        *f = fopen(p->path, "wb");

    ck_assert_ptr_nonnull(f);
    ck_assert(fwrite(v, 1, n, f) == n);
    ck_assert_int_eq(fclose(f), 0);
    arena_rewind(&p->work, 0);
    status_clear();
    const status s = p->reader.read(&p->work, p->path);
    const double took = now(CLOCK_PROCESS_CPUTIME_ID) - started;
    ck_assert_msg(s == STATUS_OK || strstr(status_text(), p->folder),
                  "%s: the message \"%s\" does not name it", p->path, status_text());
    ck_assert_msg(s != STATUS_MEMORY, "%s: needs more than %zu bytes: %s", p->path, p->reader.memory,
                  status_text());
    ck_assert_msg(took < 5, "%s: took %.1f s", p->path, took);
    return s;
}

void fuzz_run(fuzz_pool *p, double seconds)
{
    static uint8_t v[INPUT_MAX];
    const double   end = now(CLOCK_MONOTONIC) + seconds;
    long           runs = 0, accepted = 0;

    p->seeds = p->n;
    for (int i = 0; i < p->seeds; i++)
        ck_assert_msg(read_input(p, p->inputs[i].v, p->inputs[i].n) == STATUS_OK, "seed %d of %s: %s", i,
                      p->reader.name, status_text());
    while (now(CLOCK_MONOTONIC) < end) {
        const input *from = &p->inputs[below(p, (size_t)(below(p, 2) ? p->seeds : p->n))];
        size_t       n = from->n;

        memcpy(v, from->v, n);
        for (size_t k = 1 + below(p, 4); k > 0; k--)
            n = change(p, v, n);
        const status s = read_input(p, v, n);
        runs++;
        accepted += s == STATUS_OK;
        if (s != STATUS_OK && is_new(p, message_of(status_text())) && n <= KEEP_MAX)
            fuzz_add(p, v, n);
    }
    printf("%s: %ld inputs, %ld accepted, %d different messages\n", p->reader.name, runs, accepted,
           p->n_seen);
    ck_assert_int_gt(p->n_seen, 3);
    MUST(folder_remove_tree(p->folder));
    arena_close(&p->work);
    arena_close(&p->own);
}
