/* objective: the table, samples, losses and figures */
#include "recipes/objective.h"

#include "recipes/nearest.h"

#include <math.h>
#include <string.h>

#define OBJECTIVE(name) extern const objective objective_##name;
#include "recipes/objectives.def"
#undef OBJECTIVE

static const objective *const all[] = {
#define OBJECTIVE(name) &objective_##name,
#include "recipes/objectives.def"
#undef OBJECTIVE
};

const objective *objective_at(int i)
{
    return i >= 0 && i < (int)COUNT_OF(all) ? all[i] : NULL;
}

const objective *objective_of(const recipe *r)
{
    for (size_t i = 0; i < COUNT_OF(all); i++)
        if (strcmp(all[i]->name, r->objective.name) == 0)
            return all[i];
    return NULL;
}

/* ---- opening --------------------------------------------------------------------------------------- */

/* The recipe's metrics; those without have none. */
static const goal_options *measured(const goal *g)
{
    static const goal_options none = {0};

    return g->predicts ? g->options : &none;
}

/* The metric's place in the table. */
static int find_metric(const char *name)
{
    for (int i = 0; metric_name(i); i++)
        if (strcmp(metric_name(i), name) == 0)
            return i;
    return -1;
}

/* What the metric takes of what is predicted, 0: nothing fits. */
static metric_input input_of(const goal *g, const char *name)
{
    const int      i = find_metric(name);
    const unsigned both = i < 0 ? 0 : metric_inputs(i) & g->predicts;

    return (metric_input)(both & (0u - both)); /* the lowest bit */
}

static status check_metrics(const goal *g)
{
    const goal_options *o = measured(g);
    bool                found = strcmp(g->selects, "loss") == 0;
    char                fit[600] = "";

    for (int i = 0; metric_name(i); i++)
        if (metric_inputs(i) & g->predicts)
            snprintf(fit + strlen(fit), sizeof fit - strlen(fit), "%s%s", fit[0] ? ", " : "", metric_name(i));
    for (int i = 0; i < o->metrics.n; i++) {
        if (input_of(g, o->metrics.v[i]) == 0)
            return fail(STATUS_USAGE, "objective.metrics: '%s' does not fit %s, must be of: %s", o->metrics.v[i],
                        g->o->name, fit);
        found |= strcmp(o->metrics.v[i], g->selects) == 0;
    }
    if (!found)
        return fail(STATUS_USAGE, "train.metric: '%s' must be loss%s", g->selects,
                    g->predicts ? ", or one that stands in objective.metrics" : "");
    return STATUS_OK;
}

status goal_open(goal *g, session *s, const recipe *r, records *train, records *test)
{
    *g = (goal){.o = objective_of(r), .s = s, .options = r->objective.options, .seed = (uint64_t)r->seed,
                .selects = r->train.metric};
    CHECK(g->o);
    g->head = (head_wish){.given = true, .kind = g->o->head, .seed = g->seed};
    if (g->o->open)
        TRY_IN(g->o->open(g, train, test), "in objective %s", g->o->name);
    g->measured.bins = 15;
    return check_metrics(g);
}

status goal_begin(goal *g)
{
    if (g->o->head == HEAD_CLASSIFY)
        g->samples.place = feed_place(&g->s->m.head);
    return g->o->begin ? fail_in(g->o->begin(g), "in objective %s", g->o->name) : STATUS_OK;
}

status goal_hold(goal *g)
{
    return g->teacher ? session_hold(g->teacher) : STATUS_OK;
}

void goal_close(goal *g)
{
    if (g->teacher)
        session_close(g->teacher);
    g->teacher = NULL;
}

/* A teacher reads the same rows at the same positions as the student. */
static status check_teacher(const goal *g, const examples *x)
{
    const model      *m = &g->teacher->m;
    const model_front front = model_in_front(&g->s->m);

    if (front.tokens > 0 || front.positions > 0)
        return fail(STATUS_UNSUPPORTED, "objective %s: the teacher has no place for what modules put in front of "
                    "sequences", g->o->name);
    if (x->longest > m->positions)
        return fail(STATUS_USAGE, "data: a sample has %d tokens, the teacher has %lld positions; data.length may be "
                    "that", x->longest, (long long)m->positions);
    return STATUS_OK;
}

status goal_examples(const goal *g, const recipe *r, const records *list, examples *out)
{
    TRY(session_examples(g->s, r, list, g->o->whole || g->o->several ? &g->samples : NULL, out));
    out->width = g->samples.width;
    return g->teacher ? check_teacher(g, out) : STATUS_OK;
}

status goal_settle(const goal *g, examples *x, int64_t pack)
{
    return g->o->settle && x->n > 0 ? g->o->settle(g, x, pack) : STATUS_OK;
}

/* ---- loss ------------------------------------------------------------------------------------------ */

var *goal_logits(tape *t, model *m, var *hidden, const feed *f)
{
    return head_logits(t, &m->head, ag_gather_rows(t, hidden, f->target_rows_var));
}

var *goal_cross_entropy(const goal *g, tape *t, model *m, var *hidden, const feed *f, goal_vars *v)
{
    v->scores = goal_logits(t, m, hidden, f);
    if (g->window.v)
        v->scores = ag_affine(t, v->scores, NULL, tape_input(t, &g->window));
    return ag_cross_entropy(t, v->scores, f->target_ids_var, &v->each);
}

status goal_choose_classes(goal *g, int64_t from, int64_t to)
{
    const int64_t C = g->head.classes;
    float        *v;

    if (from == 0 && to == 0)
        return STATUS_OK;
    if (from < 0 || from >= to || to > C)
        return fail(STATUS_USAGE, "classes %lld to %lld are not some of the %lld", (long long)from, (long long)to - 1,
                    (long long)C);
    TRY_TAKE(v, &g->s->setup, C);
    g->window = (tensor){.s = shape_1(C), .type = TYPE_F32, .v = v};
    g->class_from = (int32_t)from;
    g->class_to = (int32_t)to;
    goal_turn(g, true);
    return STATUS_OK;
}

void goal_turn(const goal *g, bool training)
{
    float        *v = g->window.v;
    const int64_t from = training ? g->class_from : 0;

    for (int64_t c = 0; v && c < g->head.classes; c++)
        v[c] = from <= c && c < g->class_to ? 0 : -INFINITY;
}

var *goal_loss(const goal *g, tape *t, model *m, var *hidden, const feed *f, goal_vars *v)
{
    *v = (goal_vars){0};
    if (g->o->loss)
        return g->o->loss(g, t, m, hidden, f, v);
    if (!g->predicts)
        return model_loss(m, t, hidden, f->target_rows_var, f->target_ids_var, &v->each);
    return goal_cross_entropy(g, t, m, hidden, f, v);
}

/* ---- figures --------------------------------------------------------------------------------------- */

status goal_tally_open(const goal *g, arena *a, const examples *x, goal_tally *t)
{
    const goal_options *o = measured(g);
    const int64_t       most = x->n > x->n_targets ? x->n : x->n_targets;
    const int64_t       room = x->width > 1 ? most * x->width : most;

    *t = (goal_tally){.n = o->metrics.n};
    if (g->o->start)
        TRY(g->o->start(g, a, x));
    TRY_TAKE(t->v, a, t->n);
    TRY_TAKE(t->figures, a, t->n);
    for (int i = 0; i < t->n; i++) {
        const char *name = o->metrics.v[i];
        TRY(metric_open(&t->v[i], a, name, input_of(g, name), &g->measured, room));
    }
    return STATUS_OK;
}

status goal_tally_add(const goal *g, const batch *b, const goal_vars *v, goal_tally *t)
{
    if (b->n_targets == 0 || t->n == 0)
        return STATUS_OK;
    const float  *scores = v->scores->t.v;
    const int64_t columns = shape_last(v->scores->t.s);
    if (g->o->look)
        g->o->look(g, b, scores, columns);
    for (int i = 0; g->o->measure && i < t->n; i++)
        TRY_IN(g->o->measure(g, b, scores, columns, &t->v[i]), "in %s", metric_title_of(&t->v[i]));
    return STATUS_OK;
}

status goal_tally_finish(const goal *g, goal_tally *t)
{
    const goal_options *o = measured(g);

    for (int i = 0; i < t->n; i++) {
        if (g->o->finish)
            TRY(g->o->finish(g, &t->v[i]));
        TRY(metric_result_of(&t->v[i], g->seed, o->resamples, &t->figures[i]));
    }
    return STATUS_OK;
}

status goal_wording(const goal *g, const char *given, const char **out)
{
    *out = strchr(given, '{') ? given : arena_printf(&g->s->setup, "{%s}", given);
    return *out ? STATUS_OK : STATUS_MEMORY;
}

/* +1: the smaller the better, -1: the larger. */
static int turn(const goal *g)
{
    return strcmp(g->selects, "loss") == 0 || metric_is_error(g->selects) ? 1 : -1;
}

double goal_selected(const goal *g, const goal_tally *t, double loss)
{
    for (int i = 0; i < t->n; i++)
        if (strcmp(t->figures[i].name, g->selects) == 0)
            return turn(g) * t->figures[i].value;
    return loss;
}

double goal_figure(const goal *g, double selected)
{
    return turn(g) * selected;
}

int32_t goal_largest(const float *scores, int64_t n)
{
    int64_t best = 0;

    for (int64_t i = 1; i < n; i++)
        if (scores[i] > scores[best])
            best = i;
    return (int32_t)best;
}
