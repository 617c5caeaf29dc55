/* contrastive: embeddings of texts, near for those that belong together
 *
 * A sample is a query q, a positive text p and maybe negative ones; an embedding is the mean of a text's rows (or its
 * first or last row), and cos the product of two of length 1. The losses, mean over samples:
 *     infonce   -log of the softmax, at the sample's own p, of cos(q, x) / temperature over the positives and
 *               negatives x of all samples of the micro-batch (van den Oord et al. 2018;
 *               MultipleNegativesRankingLoss); symmetric: mean of it and of that of p over all queries
 *     triplet   max(0, d(q, p) - d(q, n) + margin), d = 1 - cos, or the distance of embeddings as they are
 *               (Schroff et al. 2015; TripletLoss)
 *     cosine    (cos(q, p) - score)^2 (CosineSimilarityLoss)
 * Predicted is the text that is nearest to q of all that stand in its micro-batch (a class: right or not), and
 * cos(q, p), to be compared with the score. */
#include "recipes/objective.h"

#include <math.h>
#include <string.h>

typedef struct contrastive_options {
    goal_options common;
    const char  *loss, *pooling, *distance, *query, *positive, *score;
    key_texts    negatives;
    double       temperature, margin;
    bool         symmetric;
} contrastive_options;

#define AT(member) offsetof(contrastive_options, member)
static const key rows[] = {
    GOAL_KEYS("[accuracy]"),
    {.name = "loss", .kind = KEY_CHOICE, .offset = AT(loss), .preset = "infonce", .choices = "infonce|triplet|cosine",
     .help = "infonce: against all texts of the micro-batch, so that it depends on data.pack and what lies together; "
             "triplet: against the sample's own negative; cosine: to its score."},
    {.name = "pooling", .kind = KEY_CHOICE, .offset = AT(pooling), .preset = "mean", .choices = "mean|cls|last",
     .help = "A text's embedding: the mean of its rows, special tokens included, its first row, or its last."},
    {.name = "temperature", .kind = KEY_REAL, .offset = AT(temperature), .preset = "0.05", .lo = 1e-4, .hi = 1e4,
     .help = "infonce: cosines are divided by it."},
    {.name = "symmetric", .kind = KEY_BOOL, .offset = AT(symmetric), .preset = "no",
     .help = "infonce: the mean of the loss and of that of positives against queries."},
    {.name = "margin", .kind = KEY_REAL, .offset = AT(margin), .preset = "0.5", .lo = 0, .hi = 1e6,
     .help = "triplet: how much farther the negative must be."},
    {.name = "distance", .kind = KEY_CHOICE, .offset = AT(distance), .preset = "cosine",
     .choices = "cosine|euclidean", .help = "triplet: 1 - cosine, or the distance of embeddings as they are."},
    {.name = "query", .kind = KEY_TEXT, .offset = AT(query), .preset = "query",
     .help = "Field of the query, or a wording with {fields}."},
    {.name = "positive", .kind = KEY_TEXT, .offset = AT(positive), .preset = "positive",
     .help = "The same of the text that belongs to it."},
    {.name = "negatives", .kind = KEY_TEXTS, .offset = AT(negatives), .preset = "[negative]",
     .help = "The same of texts that do not; infonce: records may lack them."},
    {.name = "score", .kind = KEY_TEXT, .offset = AT(score),
     .help = "Field with how near the two are, as a cosine: for metrics of values and the loss cosine."},
};
#undef AT

/* Constants of the loss, on the tape as inputs. */
typedef struct contrastive_state {
    tensor unit, ones, one; /* [C] 1 / sqrt(C), so that an RMS norm is one of length; [1, C]; [1] */
} contrastive_state;

static bool loss_is(const goal *g, const char *name)
{
    const contrastive_options *o = g->options;

    return strcmp(o->loss, name) == 0;
}

/* ---- samples ---------------------------------------------------------------------------------------- */

/* A sample counts as one; its score where it has one. */
static status set_score(void *context, arena *a, const record *r, example *e)
{
    const goal                *g = context;
    const contrastive_options *o = g->options;
    float                     *v;
    double                     score = 0;

    e->label = e->label >= 0 ? e->label : 0;
    if (!o->score)
        return STATUS_OK;
    if (loss_is(g, "cosine") || record_field(r, o->score))
        TRY(goal_number(r, o->score, &score));
    TRY_TAKE(v, a, 1);
    v[0] = (float)score;
    e->values = v;
    return STATUS_OK;
}

/* What is measured against scores needs them. */
static status check_scores(const goal *g, const records *test)
{
    const contrastive_options *o = g->options;
    double                     score;

    for (int64_t i = 0; test && o->score && i < test->n; i++)
        TRY(goal_number(&test->v[i], o->score, &score));
    return STATUS_OK;
}

static status set_texts(goal *g)
{
    const contrastive_options *o = g->options;
    const int                  negatives = loss_is(g, "cosine") ? 0 : o->negatives.n;
    const char               **texts;

    TRY_TAKE(texts, &g->s->setup, 2 + negatives);
    TRY(goal_wording(g, o->query, &texts[0]));
    TRY(goal_wording(g, o->positive, &texts[1]));
    for (int i = 0; i < negatives; i++)
        TRY(goal_wording(g, o->negatives.v[i], &texts[2 + i]));
    g->samples = (whole_options){.kind = WHOLE_TEXTS, .place = TARGET_SEQUENCE, .width = o->score ? 1 : 0,
                                 .n_texts = 2 + negatives, .needed = loss_is(g, "triplet") ? 3 : 2, .texts = texts,
                                 .target = set_score, .context = g};
    return STATUS_OK;
}

static status open_goal(goal *g, records *train, records *test)
{
    const contrastive_options *o = g->options;

    (void)train;
    if (loss_is(g, "triplet") && o->negatives.n != 1)
        return fail(STATUS_USAGE, "objective.negatives: names %d texts, triplet needs one", o->negatives.n);
    if (o->symmetric && !loss_is(g, "infonce"))
        return fail(STATUS_USAGE, "objective.symmetric: belongs to the loss infonce");
    if (loss_is(g, "cosine") && !o->score)
        return fail(STATUS_USAGE, "objective.score: names no field, and the loss cosine learns it");
    TRY_IN(check_scores(g, test), "in data.test");
    g->predicts = METRIC_CLASSES | (o->score ? METRIC_VALUES : 0);
    g->measured.classes = 2;
    return set_texts(g);
}

static status fill(arena *a, shape s, double value, tensor *out)
{
    float *v;

    TRY_TAKE(v, a, shape_count(s));
    for (int64_t i = 0; i < shape_count(s); i++)
        v[i] = (float)value;
    *out = (tensor){.s = s, .type = TYPE_F32, .v = v};
    return STATUS_OK;
}

static status begin(goal *g)
{
    const model       *m = &g->s->m;
    arena             *a = &g->s->setup;
    contrastive_state *x;

    if (m->has_source || m->image.channels > 0)
        return fail(STATUS_UNSUPPORTED, "a %s model does not read one text alone", m->family->name);
    TRY_TAKE(x, a, 1);
    TRY(fill(a, shape_1(m->width), 1 / sqrt((double)m->width), &x->unit));
    TRY(fill(a, shape_2(1, m->width), 1, &x->ones));
    TRY(fill(a, shape_1(1), 1, &x->one));
    g->state = x;
    return STATUS_OK;
}

/* ---- loss -------------------------------------------------------------------------------------------- */

/* What the losses are made of: embeddings of all sequences [S, C], and those of length 1. */
typedef struct embeddings {
    const contrastive_state *x;
    const feed_texts        *f;
    tape                    *t;
    var                     *plain, *unit;
} embeddings;

static var *pool(const goal *g, tape *t, var *hidden, const feed_texts *f)
{
    const contrastive_options *o = g->options;
    var                       *from = tape_input(t, &f->from_rows), *to = tape_input(t, &f->to_rows);

    if (strcmp(o->pooling, "mean") == 0)
        return ag_mean_rows(t, hidden, from, to);
    return ag_gather_rows(t, hidden, strcmp(o->pooling, "cls") == 0 ? from : to);
}

/* x / |x| by row */
static var *to_unit(const embeddings *e, var *x)
{
    return ag_rmsnorm(e->t, x, tape_input(e->t, &e->x->unit), 1e-24);
}

static var *rows_of(const embeddings *e, var *x, const tensor *which)
{
    return ag_gather_rows(e->t, x, tape_input(e->t, which));
}

/* a . b by row, [P, 1] */
static var *products(const embeddings *e, var *a, var *b)
{
    return ag_linear(e->t, ag_mul(e->t, a, b), tape_input(e->t, &e->x->ones), NULL);
}

/* How much nearer queries are to positives than to negatives, [P, 1]: cos(q, p) - cos(q, n) or |q - n| - |q - p| */
static var *nearer(const embeddings *e, bool euclidean)
{
    tape *t = e->t;
    var  *x = euclidean ? e->plain : e->unit;
    var  *q = rows_of(e, x, &e->f->firsts), *p = rows_of(e, x, &e->f->seconds), *n = rows_of(e, x, &e->f->thirds);

    if (!euclidean)
        return ag_add(t, products(e, q, p), ag_scale(t, products(e, q, n), -1));
    var *to_p = ag_add(t, q, ag_scale(t, p, -1)), *to_n = ag_add(t, q, ag_scale(t, n, -1));
    return ag_add(t, products(e, to_n, to_unit(e, to_n)), ag_scale(t, products(e, to_p, to_unit(e, to_p)), -1));
}

static var *triplet_loss(const goal *g, const embeddings *e)
{
    const contrastive_options *o = g->options;
    var                       *far = ag_scale(e->t, nearer(e, strcmp(o->distance, "euclidean") == 0), -1);

    return ag_sum(e->t, ag_relu(e->t, ag_shift(e->t, far, tape_input(e->t, &e->x->one), o->margin)));
}

static var *cosine_loss(const embeddings *e, const feed *f)
{
    tape *t = e->t;
    var  *cosines = products(e, rows_of(e, e->unit, &e->f->firsts), rows_of(e, e->unit, &e->f->seconds));
    var  *error = ag_add(t, cosines, ag_scale(t, f->values_var, -1));

    return ag_sum(t, ag_mul(t, error, error));
}

static var *record_loss(const goal *g, tape *t, model *m, var *hidden, const feed *f, goal_vars *v)
{
    const contrastive_options *o = g->options;
    embeddings                 e = {.x = g->state, .f = &f->texts, .t = t};

    (void)m;
    e.plain = pool(g, t, hidden, e.f);
    e.unit = to_unit(&e, e.plain);
    var *infonce = ag_contrast(t, rows_of(&e, e.unit, &e.f->firsts), rows_of(&e, e.unit, &e.f->answers),
                               1 / o->temperature, o->symmetric, &v->scores);
    if (loss_is(g, "triplet"))
        return triplet_loss(g, &e);
    return loss_is(g, "cosine") ? cosine_loss(&e, f) : infonce;
}

static status measure(const goal *g, const batch *b, const float *z, int64_t columns, metric_tally *tally)
{
    (void)g;
    for (int32_t i = 0; i < b->n_samples; i++, z += columns) {
        if (tally->input == METRIC_VALUES)
            TRY(metric_add_value(tally, (double)z[i], (double)b->values[i]));
        else
            TRY(metric_add_class(tally, goal_largest(z, b->n_seqs - b->n_samples) == i, 1));
    }
    return STATUS_OK;
}

const objective objective_contrastive = {
    .name = "contrastive",
    .help = "Embeddings of texts, near for those that belong together; infonce depends on what a micro-batch holds.",
    .keys = KEY_TABLE("contrastive", rows, contrastive_options),
    .task_type = "FEATURE_EXTRACTION",
    .head = HEAD_NONE,
    .whole = true,
    .several = true,
    .open = open_goal,
    .begin = begin,
    .loss = record_loss,
    .measure = measure,
};
