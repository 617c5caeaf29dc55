/* regression: one or several numbers of a sample, by squared error, mean over samples and numbers (MSELoss) */
#include "recipes/objective.h"

typedef struct regression_options {
    goal_options common;
    key_texts    fields;
} regression_options;

static const key rows[] = {
    GOAL_KEYS("[pearson, spearman]"),
    {.name = "fields", .kind = KEY_TEXTS, .offset = offsetof(regression_options, fields), .preset = "[label]",
     .help = "Fields with the numbers that are learnt."},
};

static status set_numbers(void *context, arena *a, const record *r, example *e)
{
    const goal               *g = context;
    const regression_options *o = g->options;
    float                    *v;

    TRY_TAKE(v, a, o->fields.n);
    for (int i = 0; i < o->fields.n; i++) {
        double x;
        TRY(goal_number(r, o->fields.v[i], &x));
        v[i] = (float)x;
    }
    e->values = v;
    return STATUS_OK;
}

static status open_goal(goal *g, records *train, records *test)
{
    const regression_options *o = g->options;

    (void)test;
    if (o->fields.n < 1)
        return fail(STATUS_USAGE, "objective.fields: names no field");
    for (int i = 0; i < o->common.metrics.n && o->fields.n > 1; i++)
        if (metric_is_joint(o->common.metrics.v[i]))
            return fail(STATUS_USAGE,
                        "objective.metrics: '%s' compares values with each other, and objective.fields names "
                        "%d; with several take mse or mae, or learn one", o->common.metrics.v[i], o->fields.n);
    g->samples = (whole_options){.kind = train->v[0].pixels ? WHOLE_IMAGE : WHOLE_TEXT, .place = TARGET_SEQUENCE,
                                 .width = o->fields.n, .target = set_numbers, .context = g};
    g->predicts = METRIC_VALUES;
    g->head.classes = o->fields.n;
    return STATUS_OK;
}

static var *record_loss(const goal *g, tape *t, model *m, var *hidden, const feed *f, goal_vars *v)
{
    (void)g;
    v->scores = goal_logits(t, m, hidden, f);
    var *error = ag_add(t, v->scores, ag_scale(t, f->values_var, -1));
    return ag_sum(t, ag_scale(t, ag_mul(t, error, error), 1.0 / (double)m->head.classes));
}

static status measure(const goal *g, const batch *b, const float *scores, int64_t columns, metric_tally *tally)
{
    (void)g;
    for (int64_t i = 0; i < b->n_targets * columns; i++)
        TRY(metric_add_value(tally, (double)scores[i], (double)b->values[i]));
    return STATUS_OK;
}

const objective objective_regression = {
    .name = "regression",
    .help = "Numbers that belong to a sample, by squared error.",
    .keys = KEY_TABLE("regression", rows, regression_options),
    .task_type = "SEQ_CLS",
    .head = HEAD_CLASSIFY,
    .whole = true,
    .open = open_goal,
    .loss = record_loss,
    .measure = measure,
};
