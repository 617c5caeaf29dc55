/* objective: what is minimised, and how well predictions do.
 *
 * An objective is one file in recipes/objectives and one row in recipes/objectives.def. It says which head it wants
 * on the trunk, how records become samples, what the loss is, and what its predictions are, so that the metrics of
 * metrics.h can be named in the recipe. A goal is an objective with the options of a recipe, on its data and trunk. */
#ifndef RECIPES_OBJECTIVE_H
#define RECIPES_OBJECTIVE_H

#include "recipes/feed.h"
#include "recipes/metrics.h"
#include "recipes/session.h"

/* The options of an objective whose predictions are measured begin with these. */
typedef struct goal_options {
    key_texts metrics;
    int64_t   resamples;
} goal_options;

/* Their rows; `preset` is a list, "[accuracy]". */
#define GOAL_KEYS(preset_)                                                                                             \
    {.name = "metrics", .kind = KEY_TEXTS, .offset = offsetof(goal_options, metrics), .preset = preset_,               \
     .help = "Figures of the predictions on data.test, beside the loss."},                                             \
    {.name = "resamples", .kind = KEY_INT, .offset = offsetof(goal_options, resamples), .preset = "0", .lo = 0,        \
     .hi = 1000000, .unit = "resamples", .help = "Of the test samples, for 95 % confidence intervals; 0: none."}

typedef struct objective objective;

typedef struct goal {
    const objective *o;
    const void      *options; /* of the objective's keys */
    session         *s;
    uint64_t         seed;
    head_wish        head;     /* what the trunk gets */
    unsigned         predicts; /* a union of metric_input, 0: nothing to measure beside the loss */
    metric_options   measured; /* what metrics need to know */
    whole_options    samples;
    int64_t          source_pack; /* tokens that an encoder may have in a micro-batch, 0: as data.pack */
    const char      *selects;  /* train.metric */
    int32_t          class_from, class_to; /* training is about classes from .. to - 1, evaluations about those below
                                              `to`: other logits are -infinity. 0, 0: about all */
    tensor           window;   /* f32 [classes], 0 or -infinity, what is added to logits now; or without values */
    void            *state;    /* the objective's own */
    session         *teacher;  /* a second trunk that the loss reads, NULL: none */
} goal;

/* Values of a recorded computation that are read after a forward; NULL: there are none. */
typedef struct goal_vars {
    var *each;   /* losses by target */
    var *scores; /* [targets, columns] what predictions are made of */
} goal_vars;

struct objective {
    const char *name, *help;
    key_table   keys;
    const char *task_type;  /* in PEFT's adapter_config.json; NULL: PEFT has no name for it */
    head_kind   head;
    bool        perplexity; /* the loss is that of words */
    bool        asks;       /* train.answers: the model can write */
    bool        whole;      /* samples are read as a whole, not written */
    bool        several;    /* samples are several texts: feed.texts */

    /* Before the trunk is opened: checks options, numbers the records' classes, sets g->head.classes, g->predicts,
     * g->measured and g->samples. test may be NULL. NULL: there is nothing to do. */
    status (*open)(goal *g, records *train, records *test);
    /* When the trunk is there; NULL: nothing. */
    status (*begin)(goal *g);
    /* When the modules are there and before the first step: what the trunk without them makes of the examples, which
     * fit in micro-batches of `pack` tokens; NULL: nothing. */
    status (*settle)(const goal *g, examples *x, int64_t pack);
    /* Chooses what is predicted in a filled micro-batch (feed.prepare); NULL: nothing. */
    void (*prepare)(const void *goal, batch *b);
    /* The sum of the losses of the targets, hidden [N, C]; NULL: cross-entropy of the head, v->scores its logits. */
    var *(*loss)(const goal *g, tape *t, model *m, var *hidden, const feed *f, goal_vars *v);
    /* Before the first micro-batch of an evaluation of x, with the arena of its tallies; NULL: nothing. */
    status (*start)(const goal *g, arena *a, const examples *x);
    /* Looks at a micro-batch, once whatever metrics there are; NULL: nothing. */
    void (*look)(const goal *g, const batch *b, const float *scores, int64_t columns);
    /* Adds the predictions of a micro-batch, scores [n_targets, columns], to a tally; of a span [rows, 2], whose
     * predictions are of several samples together: `finish` adds them. */
    status (*measure)(const goal *g, const batch *b, const float *scores, int64_t columns, metric_tally *tally);
    status (*finish)(const goal *g, metric_tally *tally); /* NULL: all has been added */
};

/* The i-th objective; NULL past the last. */
const objective *objective_at(int i);
/* That of a recipe. */
const objective *objective_of(const recipe *r);

/* The goal of a recipe; test NULL: no test data. Metrics that do not fit the objective are refused. */
status goal_open(goal *g, session *s, const recipe *r, records *train, records *test);
/* Behind session_base_for(.., &g->head): what needs the trunk. */
status goal_begin(goal *g);
/* Computes what the objective wants to know of the examples; after session_hold. */
status goal_settle(const goal *g, examples *x, int64_t pack);
/* Brings what the goal holds beside the trunk to the device; as session_hold. */
status goal_hold(goal *g);
void   goal_close(goal *g);
/* The samples of records, when the modules are there. */
status goal_examples(const goal *g, const recipe *r, const records *list, examples *out);

/* Records the loss. */
var *goal_loss(const goal *g, tape *t, model *m, var *hidden, const feed *f, goal_vars *v);

/* Sets the classes of g, as for class_from and class_to; before the loss is recorded. */
status goal_choose_classes(goal *g, int64_t from, int64_t to);
/* From now on micro-batches are those of training, or of an evaluation. */
void goal_turn(const goal *g, bool training);

/* The metrics of the recipe, and their figures. */
typedef struct goal_tally {
    int            n;
    metric_tally  *v;       /* [n] */
    metric_result *figures; /* [n] */
} goal_tally;

/* Tallies for the samples of x, in the arena. */
status goal_tally_open(const goal *g, arena *a, const examples *x, goal_tally *t);
/* Adds a micro-batch after its forward. */
status goal_tally_add(const goal *g, const batch *b, const goal_vars *v, goal_tally *t);
status goal_tally_finish(const goal *g, goal_tally *t);

/* What `select: best` and `patience` compare, the smaller the better: the loss, or the figure of train.metric, turned
 * round when larger is better. */
double goal_selected(const goal *g, const goal_tally *t, double loss);
/* The figure that such a value stands for. */
double goal_figure(const goal *g, double selected);

/* ---- for objectives ---- */

/* The head's logits at the rows of the targets, [targets, columns]. */
var *goal_logits(tape *t, model *m, var *hidden, const feed *f);
/* Cross-entropy of the head, v->scores its logits; of the chosen classes. */
var *goal_cross_entropy(const goal *g, tape *t, model *m, var *hidden, const feed *f, goal_vars *v);

/* Numbers the classes of all records, and sets g->measured.tags to their names: the records' own classes, those of
 * train and test united; else the texts of the field `label`; names [n] are the classes in order when the recipe lists
 * them. count: as many as the recipe says, 0: as many as there are. */
status goal_classes(goal *g, records *train, records *test, const char *field, const key_texts *names, int64_t count);

/* A wording: as it is given, or of the field with that name. */
status goal_wording(const goal *g, const char *given, const char **out);

/* A number of the field of a record; its class where it has one and no such field. */
status goal_number(const record *r, const char *field, double *out);

/* The column of the largest score; of equal ones the first. */
int32_t goal_largest(const float *scores, int64_t n);

#endif
