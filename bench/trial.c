/* trial: recipes written to a folder in /tmp, and single steps of them */
#include "bench/trial.h"

#include "core/file.h"
#include "core/json.h"
#include "recipes/registry.h"
#include "recipes/work.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static char folder[64];
static int  n_written;

status trial_folder(const char **out)
{
    if (!folder[0]) {
        strcpy(folder, "/tmp/cambium-bench-XXXXXX");
        if (!mkdtemp(folder)) {
            folder[0] = '\0';
            return fail(STATUS_IO, "/tmp: no folder can be made there: %s", strerror(errno));
        }
    }
    *out = folder;
    return STATUS_OK;
}

void trial_clean(void)
{
    if (folder[0])
        (void)folder_remove_tree(folder);
    folder[0] = '\0';
}

const char *trial_lora(bench *b, int64_t rank)
{
    return arena_printf(b->a, "method: lora, at: all-linear, rank: %lld, alpha: %lld", (long long)rank,
                        2 * (long long)rank);
}

/* Ids that every vocabulary has; all of them are targets. */
static status write_data(const char *path, int64_t n, int64_t length)
{
    file_writer w;

    TRY(file_writer_open(&w, path));
    for (int64_t i = 0; i < n; i++)
        for (int part = 0; part < 2; part++) {
            file_printf(&w, part ? "], \"labels\": [" : "{\"ids\": [");
            for (int64_t k = 0; k < length; k++)
                file_printf(&w, "%s%lld", k ? ", " : "", (long long)(3 + (i * 31 + k * 17) % 250));
            if (part)
                file_printf(&w, "]}\n");
        }
    return file_writer_close(&w, true);
}

status trial_write(bench *b, const trial_spec *s, char **path)
{
    const char *where, *base = json_quote(b->a, s->base, strlen(s->base));
    file_writer w;

    TRY(trial_folder(&where));
    char *data = arena_printf(b->a, "%s/data-%d.jsonl", where, n_written);
    *path = arena_printf(b->a, "%s/recipe-%d.yaml", where, n_written++);
    if (!base || !data || !*path)
        return STATUS_MEMORY;
    TRY(write_data(data, 2 * s->tokens / s->length, s->length));
    TRY(file_writer_open(&w, *path));
    file_printf(&w,
                "name: bench\nseed: 0\ndevice: %s\nprecision: %s\nbase: %s\n"
                "data:\n  train: {source: ids, path: %s}\n  length: %lld\n  pack: %lld\n"
                "modules:\n  - {name: main, %s}\nobjective: causal_lm\n"
                "optim: {name: adamw, lr: 1e-4, schedule: constant}\n"
                "train: {steps: 1000000, batch_tokens: %lld, recompute: %s}\n",
                b->o.device, b->o.precision, base, data, (long long)s->length, (long long)s->tokens, s->module,
                (long long)s->tokens, s->recompute ? s->recompute : "none");
    return file_writer_close(&w, true);
}

static status open_run(trial *t, const char *path, trial *first)
{
    const key_texts none = {0};
    recipe         *r;
    session        *s = &t->in.s;

    TRY(recipe_load(t->b->a, path, &none, registry(), &r));
    t->open = true;
    TRY(first ? opening_begin_beside(&t->in, r, &first->in) : opening_begin(&t->in, r));
    t->in.noise = device_current() && strncmp(r->base, "random:", 7) == 0;
    TRY(opening_load(&t->in, false));
    TRY(session_hold(s));
    TRY(opening_settle(&t->in, true));
    if (first && !first->activations.base)
        TRY(arena_open(&first->activations, "step", (size_t)256 << 30));
    t->in.trainer.step = first ? &first->activations : NULL;
    return trainer_open(&t->x, &s->setup, &s->tuned, &s->m, s->p, &t->in.trainer, false);
}

status trial_open(trial *t, bench *b, const char *path)
{
    *t = (trial){.b = b};
    return open_run(t, path, NULL);
}

status trial_open_spec(trial *t, bench *b, const trial_spec *s)
{
    char *path;

    *t = (trial){.b = b};
    TRY(trial_write(b, s, &path));
    return open_run(t, path, NULL);
}

status trial_open_beside(trial *t, bench *b, const trial_spec *s, trial *first)
{
    char *path;

    *t = (trial){.b = b};
    TRY(trial_write(b, s, &path));
    return open_run(t, path, first);
}

void trial_close(trial *t)
{
    if (!t->open)
        return;
    trainer_close(&t->x);
    arena_close(&t->activations);
    opening_end(&t->in);
    t->open = false;
}

/* Needed FLOPs of the step that comes next. */
static status count_next(trial *t, work *w)
{
    const pack_position at = t->in.data.at;
    pack_step           plan;

    *w = (work){0};
    packer_step(&t->in.data, &plan);
    work_add(w, &t->x, &t->in.data, &plan);
    return packer_seek(&t->in.data, &at);
}

status trial_step(void *context, reading *r)
{
    trial      *t = context;
    work        w;
    step_report said;

    TRY(count_next(t, &w));
    const double from = bench_now();
    TRY(trainer_step(&t->x, &t->in.data, t->step++, &said));
    *r = (reading){.seconds = bench_now() - from, .amount = (double)said.tokens,
                   .work = 1e-9 * (w.forward + w.backward)};
    return said.leaves > 0 ? STATUS_OK
                           : fail(STATUS_USAGE, "the recipe's data has ended after %lld steps",
                                  (long long)t->step - 1);
}
