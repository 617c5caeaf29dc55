/* masked_lm: the words at masked places (Devlin et al. 2019, section 3.1)
 *
 * Of a sample's n tokens that are not special, max(1, round(probability n)) are chosen anew in every epoch, any as
 * likely as any other (selection sampling: Knuth, The Art of Computer Programming 2, algorithm 3.4.2 S). Of these
 * 80 % become the mask, 10 % a token drawn from all, 10 % stay. What is drawn is a function of seed, number of the
 * sample in the run and place in the sample, whatever the micro-batch. */
#include "core/rng.h"
#include "recipes/objective.h"

#include <math.h>
#include <string.h>

typedef struct masked_options {
    double probability;
} masked_options;

static const key rows[] = {
    {.name = "probability", .kind = KEY_REAL, .offset = offsetof(masked_options, probability), .preset = "0.15",
     .lo = 0.001, .hi = 1, .help = "Share of the tokens that are predicted."},
};

typedef struct masked_state {
    rng_key  key;
    int32_t  mask;
    int64_t  words;
    uint8_t *special; /* [words] */
    double   probability;
} masked_state;

static int32_t count_chosen(double probability, int32_t n)
{
    const double share = round(probability * n);

    return n == 0 ? 0 : share < 1 ? 1 : (int32_t)share;
}

/* How many of the sample's words are predicted. */
static status set_masked(void *context, arena *a, const record *r, example *e)
{
    const goal         *g = context;
    const masked_state *x = g->state;
    int32_t             n = 0;

    (void)a;
    (void)r;
    for (int32_t i = 0; i < e->n; i++)
        n += e->ids[i] >= 0 && e->ids[i] < x->words && !x->special[e->ids[i]];
    e->masked = count_chosen(x->probability, n);
    return STATUS_OK;
}

static status open_goal(goal *g, records *train, records *test)
{
    char where[256];

    (void)test;
    if (train->v[0].pixels || train->v[0].n_words > 0)
        return fail(STATUS_USAGE, "%s: is no text", record_where(&train->v[0], where));
    g->samples = (whole_options){.kind = WHOLE_TEXT, .place = TARGET_MASKED, .target = set_masked, .context = g};
    return STATUS_OK;
}

static status begin(goal *g)
{
    const masked_options *o = g->options;
    const session        *s = g->s;
    masked_state         *x;

    TRY_TAKE(x, &g->s->setup, 1);
    *x = (masked_state){.key = rng_key_for(g->seed, "masked"), .words = s->m.words, .mask = session_mask(s),
                        .probability = o->probability};
    if (x->mask < 0)
        return fail(STATUS_USAGE, "%s: its tokenizer has no mask token ([MASK] or <mask>)", s->path);
    TRY_TAKE(x->special, &g->s->setup, x->words);
    for (int64_t i = 0; i < x->words; i++)
        x->special[i] = s->words && tokenizer_is_special(s->words, (int32_t)i);
    g->state = x;
    return STATUS_OK;
}

/* What becomes of a chosen token. */
static int32_t replaced(const masked_state *x, const rng_block *draw, int32_t id)
{
    const uint32_t tenth = draw->r[1] % 10;

    if (tenth < 8)
        return x->mask;
    return tenth == 8 ? (int32_t)(((uint64_t)draw->r[2] * (uint64_t)x->words) >> 32) : id;
}

static void mask_sequence(const masked_state *x, batch *b, int64_t sample, int32_t from, int32_t to)
{
    int32_t left = 0;

    for (int32_t i = from; i < to; i++)
        left += !x->special[b->ids[i]];
    for (int32_t i = from, wanted = count_chosen(x->probability, left); wanted > 0; i++) {
        if (x->special[b->ids[i]])
            continue;
        const rng_block draw = rng_philox(x->key, (uint32_t)sample, (uint32_t)(sample >> 32), (uint32_t)(i - from), 0);
        if ((((uint64_t)draw.r[0] * (uint64_t)left--) >> 32) >= (uint64_t)wanted)
            continue;
        batch_add_target(b, i, b->ids[i]);
        b->ids[i] = replaced(x, &draw, b->ids[i]);
        wanted--;
    }
}

static void prepare(const void *context, batch *b)
{
    const goal *g = context;

    for (int32_t s = 0; s < b->n_seqs; s++)
        mask_sequence(g->state, b, b->sample[s], b->offsets[s] + b->front, b->offsets[s + 1]);
}

const objective objective_masked_lm = {
    .name = "masked_lm",
    .help = "Cross-entropy of tokens at masked places.",
    .keys = KEY_TABLE("masked_lm", rows, masked_options),
    .head = HEAD_MASKED,
    .perplexity = true,
    .whole = true,
    .open = open_goal,
    .begin = begin,
    .prepare = prepare,
};
