/* prepare: the inputs of sites, sample by sample */
#include "recipes/prepare.h"

#include "core/log.h"
#include "recipes/feed.h"

#include <string.h>

/* What goes into a site, and the number of the first site of the module that it goes into too. */
typedef struct watch {
    site_hook hook;
    var      *x;
    int       same;
} watch;

typedef struct preparation {
    peft           *p;
    const module   *m;
    const examples *x;
    arena          *seen;
    arena           work;
    watch          *v; /* [m->n_sites] */
    feed            f;
    tape           *t;
} preparation;

static var *look(tape *t, const site *s, void *state, var *x)
{
    (void)t, (void)s;
    ((watch *)state)->x = x;
    return x;
}

static status record_trunk(preparation *r)
{
    const module *m = r->m;
    stream        s = {0};

    TRY(feed_open(&r->f, r->p->m, &r->work, r->x->longest, 0, 1));
    r->f.b.place = TARGET_SEQUENCE; /* nothing is a target */
    TRY(tape_open(&r->t, TYPE_F32));
    feed_record(&r->f, r->t, &s);
    tape_keep(r->t, model_hidden(r->p->m, r->t, &s));
    TRY(tape_status(r->t));
    for (int k = 0; k < m->n_sites; k++) {
        watch *w = &r->v[k];
        CHECK(w->x);
        tape_keep(r->t, w->x);
        for (w->same = 0; r->v[w->same].x != w->x;)
            w->same++;
    }
    TRY(tape_plan(r->t, NULL, RECOMPUTE_NONE));
    return tape_bind(r->t, &r->work);
}

static status show(preparation *r, const example *e, int64_t sample)
{
    const module *m = r->m;
    const example bare = {.n = e->n, .ids = e->ids, .types = e->types, .label = -1, .batch = -1};

    batch_clear(&r->f.b);
    CHECK(batch_add(&r->f.b, &bare, sample, sample));
    feed_load(&r->f);
    tape_forward(r->t);
    TRY(tape_check(r->t));
    for (int k = 0; k < m->n_sites; k++) {
        const watch *w = &r->v[k];
        TRY_IN(m->method->see(m->at[k], m->hooks[k].state,
                              &(peft_inputs){.a = r->seen, .x = w->x->t.v, .rows = e->n, .most_rows = r->x->longest,
                                             .sample = sample,
                                             .same = w->same < k ? m->hooks[w->same].state : NULL}),
               "in %s", m->at[k]->name);
    }
    return STATUS_OK;
}

static status watch_samples(preparation *r)
{
    const module *m = r->m;
    const int64_t want = m->method->samples(m->options), n = want < r->x->n ? want : r->x->n;

    TRY_TAKE(r->v, &r->work, m->n_sites);
    memset(r->v, 0, (size_t)m->n_sites * sizeof *r->v);
    for (int k = 0; k < m->n_sites; k++) {
        r->v[k].hook = (site_hook){.state = &r->v[k], .input = look};
        site_hang(m->hung[k], &r->v[k].hook);
    }
    status done = record_trunk(r);
    for (int k = 0; k < m->n_sites; k++)
        site_unhang(m->hung[k], &r->v[k].hook);
    if (done == STATUS_OK)
        log_info("module %s: sees what %lld samples give to %d sites", m->name, (long long)n, m->n_sites);
    for (int64_t i = 0; i < n && done == STATUS_OK; i++)
        done = show(r, &r->x->v[i * r->x->n / n], i);
    return done;
}

status prepare_module(peft *p, int number, const examples *x, arena *seen)
{
    preparation r = {.p = p, .m = &p->modules[number], .x = x, .seen = seen};

    if (x->n == 0)
        return fail(STATUS_USAGE, "module %s: there is no sample that its start could see", r.m->name);
    if (x->v[0].ends || x->v[0].patches || x->v[0].source)
        return fail(STATUS_UNSUPPORTED, "module %s: its start looks at samples that are one text each, and here they are "
                    "several texts, images, or texts for an encoder", r.m->name);
    TRY(arena_open(&r.work, "samples", (size_t)1 << 38));
    peft_detach(p);
    const status done = watch_samples(&r);
    peft_attach_again(p);
    tape_close(r.t);
    arena_close(&r.work);
    return fail_in(done, "in module %s", r.m->name);
}

status prepare_modules(session *s, const recipe *r, session_samples *samples, void *context, arena *seen)
{
    examples x;
    bool     loaded = false;

    for (int i = 0; i < r->n_modules; i++) {
        const module *m = &s->p->modules[i];
        if (r->modules[i].load || !(peft_traits(m->method, m->options) & PEFT_SEES))
            continue;
        if (!loaded)
            TRY(samples(context, &x));
        loaded = true;
        TRY(prepare_module(s->p, i, &x, seen));
    }
    return STATUS_OK;
}
