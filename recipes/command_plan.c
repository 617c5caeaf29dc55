/* plan: a recipe foretold: sites, what is trained, memory, work, time. Nothing is trained. */
#include "recipes/commands.h"

#include "core/clock.h"
#include "core/cpu/probe.h"
#include "core/linalg.h"
#include "core/memory_use.h"
#include "core/rng.h"
#include "core/threads.h"
#include "recipes/bill.h"
#include "recipes/opening.h"
#include "recipes/procedure.h"
#include "recipes/work.h"

#include <string.h>

/* Goes through the micro-batches of up to `sample` steps and scales to the whole run. */
static void count_work(opening *o, trainer *x, int64_t sample, work *w)
{
    const int64_t steps = o->steps < sample ? o->steps : sample;
    int64_t       done = 0;
    pack_step     plan;

    *w = (work){0};
    for (; done < steps; done++) {
        packer_step(&o->data, &plan);
        if (plan.n_leaves == 0)
            break;
        work_add(w, x, &o->data, &plan);
    }
    const double scale = done > 0 ? (double)o->steps / (double)done : 0;
    w->steps = o->steps;
    w->forward *= scale;
    w->backward *= scale;
    w->tokens = (int64_t)((double)w->tokens * scale);
    w->targets = (int64_t)((double)w->targets * scale);
}

/* One line for the sites of one kind: "block.*.attn.q  30 x [576, 576]  552,960 values". */
static void print_sites(const peft *p, const module *m, FILE *out)
{
    for (int i = 0; i < m->n_sites; i++) {
        const site *s = m->at[i];
        const char *kind = strrchr(s->name, '.') ? strrchr(s->name, '.') + 1 : s->name;
        int64_t     values = 0;
        int         same = 0;
        bool        first = true;
        for (int k = 0; k < m->n_sites; k++) {
            const char *other = strrchr(m->at[k]->name, '.');
            if (strcmp(other ? other + 1 : m->at[k]->name, kind) != 0)
                continue;
            first &= k >= i;
            same++;
            values += m->method->count(m->at[k], m->options);
        }
        if (first)
            fprintf(out, "    %-8s %4d sites of [%lld, %lld]  %12lld values\n", kind, same,
                    (long long)s->out, (long long)s->in, (long long)values);
    }
    const int64_t beside =
        m->method->count_beside ? m->method->count_beside(p, (int)(m - p->modules), m->options) : 0;
    if (beside)
        fprintf(out, "    beside its sites %25lld values\n", (long long)beside);
    const int64_t whole = peft_whole_count(p, (int)(m - p->modules));
    if (whole)
        fprintf(out, "    whole parts and rows of tokens %11lld values\n", (long long)whole);
}

static void print_modules(const peft *p, FILE *out)
{
    fprintf(out, "modules\n");
    for (int i = 0; i < p->n_modules; i++) {
        const module *m = &p->modules[i];
        fprintf(out, "  %s: %s on %d sites%s\n", m->name, m->method->name, m->n_sites,
                m->trains ? "" : ", frozen");
        print_sites(p, m, out);
    }
    fprintf(out, "  trained in all: %lld values in %d tensors\n", (long long)p->trained, p->n_tuned);
}

/* FLOP/s of decompositions, of a matrix of noise: larger ones may go faster. */
static status probe_decomposing(arena *a, double *rate)
{
    enum { N = 160 };
    const size_t mark = arena_mark(a);
    double      *v; /* a matrix, its left vectors, its right ones, its values */

    TRY_TAKE(v, a, 3 * N * N + N);
    for (int i = 0; i < N * N; i++)
        v[i] = (double)(rng_philox(rng_key_for(0, "probe"), (uint32_t)i, 0, 0, 0).r[0] % 1000) - 500;
    const double from = clock_seconds();
    TRY(linalg_svd(v, N, N, v + N * N, v + 3 * N * N, v + 2 * N * N));
    *rate = 26.0 * N * N * N / (clock_seconds() - from);
    arena_rewind(a, mark);
    return STATUS_OK;
}

static status print_starts(const opening *o, arena *a, FILE *out)
{
    const peft_start_cost c = peft_cost_of_start(o->s.p);
    double                rate;

    if (c.sites == 0)
        return STATUS_OK;
    fprintf(out, "starts\n  %d weights decomposed or quantised, %.3g FLOPs in f64, %.1f MB while they are\n", c.sites,
            c.flops, (double)(c.each + c.all) / 1e6);
    if (c.flops == 0 || !linalg_available())
        return STATUS_OK;
    TRY(probe_decomposing(a, &rate));
    fprintf(out, "  decompositions: %.1f GFLOP/s probed on a small one; at that rate %.0f s\n", rate / 1e9,
            c.flops / rate);
    return STATUS_OK;
}

static void print_work(const work *w, FILE *out)
{
    const double probed = probe_fma(threads_count()) * 1e9, flops = w->forward + w->backward;

    fprintf(out, "work\n  %lld steps, %lld tokens, %lld targets\n", (long long)w->steps,
            (long long)w->tokens, (long long)w->targets);
    fprintf(out, "  needed FLOPs %.3g (forward %.3g, backward %.3g), %.3g a token\n", flops, w->forward,
            w->backward, w->tokens ? flops / (double)w->tokens : 0);
    fprintf(out, "  this machine: %.0f GFLOP/s probed with %d threads; at that rate %.0f s, %.0f tokens/s\n",
            probed / 1e9, threads_count(), flops / probed,
            flops > 0 ? (double)w->tokens * probed / flops : 0);
}

static void print_json(const opening *o, const bill *b, const work *w, FILE *out)
{
    fprintf(out, "{\"trained_values\": %lld, \"tensors\": %d, \"steps\": %lld, \"tokens\": %lld, "
            "\"targets\": %lld, \"flops\": %.6g, \"memory\": {\"trunk\": %zu, \"values\": %zu, "
            "\"gradients\": %zu, \"optimizer\": %zu, \"step\": %zu, \"scratch\": %zu, \"data\": %zu, \"program\": %zu, "
            "\"starts\": %zu, \"total\": %zu, \"free\": %zu}, \"device_memory\": {\"trunk\": %zu, "
            "\"gradients\": %zu, \"optimizer\": %zu, \"step\": %zu, \"scratch\": %zu, \"context\": %zu, "
            "\"total\": %zu, \"free\": %zu}}\n",
            (long long)o->s.p->trained, o->s.p->n_tuned, (long long)w->steps, (long long)w->tokens,
            (long long)w->targets, w->forward + w->backward, b->trunk, b->values, b->gradients,
            b->optimizer, b->step, b->scratch, b->data, b->program, b->starts, b->total, memory_free(),
            b->device.trunk, b->device.gradients, b->device.optimizer, b->device.step, b->device.scratch,
            b->device.context, b->device.total, b->device.free);
}

static status plan(opening *o, bool json, FILE *out)
{
    trainer x = {0};
    work    w;
    char   *text;

    TRY(opening_load(o, true));
    status s = trainer_open(&x, &o->s.setup, &o->s.tuned, &o->s.m, o->s.p, &o->trainer, true);
    if (s == STATUS_OK) {
        const bill b = bill_of(&o->s, &x);
        count_work(o, &x, 50, &w);
        if (json)
            print_json(o, &b, &w, out);
        else if ((s = recipe_text(&o->s.setup, o->r, true, &text)) == STATUS_OK) {
            fprintf(out, "%s\n", text);
            print_modules(o->s.p, out);
            fprintf(out, "memory\n");
            bill_print(&b, out);
            s = print_starts(o, &o->s.setup, out);
            print_work(&w, out);
        }
    }
    trainer_close(&x);
    return s;
}

static status plan_phase(const recipe *r, bool json, FILE *out)
{
    opening o;

    TRY(opening_begin(&o, r));
    const status s = plan(&o, json, out);
    opening_end(&o);
    return s;
}

status command_plan(recipe *r, bool json, FILE *out)
{
    arena    a;
    recipe **phases;
    int      n;

    TRY(arena_open(&a, "phases", (size_t)1 << 32));
    status s = procedure_foretell(&a, r, &phases, &n);
    for (int i = 0; s == STATUS_OK && i < n; i++) {
        if (n > 1 && !json)
            fprintf(out, "%s# phase %d of %d: %s\n", i > 0 ? "\n" : "", i + 1, n, phases[i]->name);
        s = plan_phase(phases[i], json, out);
    }
    arena_close(&a);
    return s;
}
