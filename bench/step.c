/* step: whole training steps: speed against needed FLOPs, time by operation, and how cost grows */
#include "bench/trial.h"

#include "autograd/op_table.h"
#include "core/file.h"

#include <string.h>

static const char *const phases[] = {"forward", "recompute", "backward"};
enum { PHASES = 3 };

typedef struct shares {
    double seconds[OP_COUNT][PHASES];
} shares;

static void observe(void *context, op_code op, const char *place, int phase, double seconds)
{
    shares *s = context;

    (void)place;
    s->seconds[op][phase] += seconds;
}

/* One step with the observer on; the operations in the order of what they took. */
static status by_operation(bench *b, trial *t)
{
    shares  s = {0};
    reading r;

    tape_observe(t->x.t, observe, &s);
    const status done = trial_step(t, &r);
    tape_observe(t->x.t, NULL, NULL);
    TRY(done);
    for (;;) {
        char    what[64];
        figure *f;
        double *most = &s.seconds[0][0];
        for (int i = 0; i < OP_COUNT * PHASES; i++)
            if ((&s.seconds[0][0])[i] > *most)
                most = &(&s.seconds[0][0])[i];
        const int at = (int)(most - &s.seconds[0][0]);
        if (*most <= 0)
            return STATUS_OK;
        snprintf(what, sizeof what, "of a step: %s %s", op_name((op_code)(at / PHASES)),
                 phases[at % PHASES]);
        if (*most >= 0.002 * r.seconds && bench_wants(b, what)) {
            TRY(bench_keep_one(b, what, "ms", 1e3 * *most, &f));
            TRY(bench_note(b, f, "%.1f %% of the step", 100 * *most / r.seconds));
        }
        *most = 0;
    }
}

static status measure_steps(bench *b, trial *t, const char *what)
{
    TRY(bench_time_threads(b, (timed){.what = what, .unit = "tokens/s", .ceiling = CEILING_FMA,
                                      .run = trial_step, .context = t}));
    return by_operation(b, t);
}

static status measure(bench *b, const char *what, const char *path)
{
    trial t;

    if (!bench_wants(b, what) && !bench_wants(b, "of a step"))
        return STATUS_OK;
    status s = trial_open(&t, b, path);
    if (s == STATUS_OK)
        s = measure_steps(b, &t, what);
    trial_close(&t);
    return s;
}

/* ---- growth
 * ---------------------------------------------------------------------------------------- */

/* A llama like the 135M one with fewer layers, which are what is to be compared. */
static status write_trunk(bench *b, int layers, char **base)
{
    const char *folder;
    const bool  quick = b->o.quick;
    file_writer w;

    TRY(trial_folder(&folder));
    char *path = arena_printf(b->a, "%s/trunk-%d.json", folder, layers);
    *base = arena_printf(b->a, "random:%s", path ? path : "");
    if (!path || !*base)
        return STATUS_MEMORY;
    TRY(file_writer_open(&w, path));
    file_printf(
        &w,
        "{\"model_type\": \"llama\", \"architectures\": [\"LlamaForCausalLM\"], \"hidden_size\": "
        "%d, "
        "\"intermediate_size\": %d, \"num_hidden_layers\": %d, \"num_attention_heads\": %d, "
        "\"num_key_value_heads\": %d, \"vocab_size\": %d, \"rms_norm_eps\": 1e-5, \"rope_theta\": "
        "10000, "
        "\"max_position_embeddings\": 8192, \"tie_word_embeddings\": true}\n",
        quick ? 48 : 576, quick ? 96 : 1536, layers, quick ? 3 : 9, quick ? 1 : 3,
        quick ? 512 : 49152);
    return file_writer_close(&w, true);
}

/* The two in turns, so that what else the machine does hits both. */
static status compare(bench *b, const char *what, trial both[2])
{
    enum { TURNS = 7 };
    const int turns = b->o.quick ? 3 : TURNS;
    double    ratio[TURNS], work = 1;
    reading   r[2] = {{0}};
    figure   *f;

    for (int turn = -1; turn < turns; turn++) { /* the first warms up */
        for (int i = 0; i < 2; i++)
            TRY(trial_step(&both[i], &r[i]));
        if (turn >= 0)
            ratio[turn] = r[1].seconds / r[0].seconds;
        work = r[1].work / r[0].work;
    }
    const double middle = bench_median(ratio, turns); /* which sorts them */
    TRY(bench_keep(b,
                   &(figure){.what = what,
                             .unit = "x time",
                             .threads = b->most_threads,
                             .n = turns,
                             .value = middle,
                             .best = ratio[0],
                             .worst = ratio[turns - 1]},
                   &f));
    return bench_note(b, f, "needed FLOPs x %.2f, time a FLOP x %.2f", work,
                      middle / work);
}

static status grow(bench *b, const char *what, const trial_spec *small, const trial_spec *large)
{
    trial both[2] = {{0}};

    if (!bench_wants(b, what))
        return STATUS_OK;
    status s = trial_open_spec(&both[0], b, small);
    if (s == STATUS_OK)
        s = trial_open_spec(&both[1], b, large);
    if (s == STATUS_OK)
        s = compare(b, what, both);
    trial_close(&both[1]);
    trial_close(&both[0]);
    return s;
}

static status growth(bench *b)
{
    const int     layers = b->o.quick ? 1 : 6;
    const int64_t tokens = b->o.tokens / 2, rank = b->o.rank;
    char         *few, *many;
    const char   *thin = trial_lora(b, rank), *thick = trial_lora(b, 2 * rank);

    if (!thin || !thick)
        return STATUS_MEMORY;
    TRY(write_trunk(b, layers, &few));
    TRY(write_trunk(b, 2 * layers, &many));
    const trial_spec plain = {few, thin, tokens, tokens, NULL};
    trial_spec       more = plain;
    more.tokens = more.length = 2 * tokens;
    TRY(grow(b, "growth: one sample of twice the tokens", &plain, &more));
    more.length = tokens;
    TRY(grow(b, "growth: twice the samples", &plain, &more));
    more = plain;
    more.base = many;
    TRY(grow(b, "growth: twice the layers", &plain, &more));
    more = plain;
    more.module = thick;
    return grow(b, "growth: twice the rank", &plain, &more);
}

status bench_step(bench *b)
{
    const char *module = trial_lora(b, b->o.rank);
    char        what[64], *path;
    trial_spec s = {b->o.base, module, b->o.tokens, b->o.tokens, NULL};

    if (!module)
        return STATUS_MEMORY;
    if (b->o.recipe)
        return measure(b, "the recipe's steps", b->o.recipe);
    snprintf(what, sizeof what, "1 sample of %lld", (long long)b->o.tokens);
    TRY(trial_write(b, &s, &path));
    TRY(measure(b, what, path));
    if (!b->o.quick)
        TRY(measure(b, "quickstart's steps", BENCH_SOURCE "/recipes/quickstart.yaml"));
    return growth(b);
}
