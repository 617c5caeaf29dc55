/* with_method_case: cases of the folders of whole methods (golden/methods/README.md): a start, its logits and
 * gradients, a trajectory and what it ends with.
 *
 * A card is one folder there and one file tests/with_golden_<card>.c. It says how the tensors are called and adds the
 * modules that a case's settings ask for; what its cases have beside that it compares in functions of its own. Every
 * tolerance is ten times the case's f32_error. */
#ifndef TESTS_WITH_METHOD_CASE_H
#define TESTS_WITH_METHOD_CASE_H

#include "tests/with_golden.h"
#include "tests/with_trajectory.h"

typedef struct method_case method_case;

/* Ends of a tensor's name in an adapter's file ("poly_lora_A"), and in the cases ("poly_A"). What stands before them
 * is the site's name; no row: the same. With two rows for an end the one counts whose name the case has. */
typedef struct method_name {
    const char *ours, *theirs;
    bool turned; /* a matrix that lies turned there */
} method_name;

typedef struct method_card {
    const char *folder; /* "mhr" */
    const method_name *names;
    int n_names;
    const char *optim;  /* member of case.json with the optimizer's settings; NULL: "optim" */
    /* Numbers of the trajectory, and what it ends with, vary by up to so many times f32_error, which is one run's, when
     * the start is off by a rounding: measured with the definition itself in f32. 0: ten. */
    double varies;
    const char *router; /* tuned tensors (a glob) that take the rate lr_router and no decay; NULL: none */
    /* All may be NULL but `modules`. The head that the trunk gets: c->head. */
    status (*wish)(golden *g, method_case *c);
    /* Adds modules to c->p. */
    status (*modules)(golden *g, method_case *c);
    /* Their values are as modules start; those of start.safetensors follow. */
    status (*started)(golden *g, method_case *c);
    bool fills; /* `started` gives values to all that start.safetensors lacks */
    /* The values are there: further comparisons at the start. */
    status (*begin)(golden *g, method_case *c);
    /* Around every step; values and gradients may lie on a device (peft_pull, trajectory_gradient). */
    status (*before)(golden *g, method_case *c, int64_t step);
    status (*after)(golden *g, method_case *c, const step_report *r);
    /* The trajectory is over, the final values are here. */
    status (*end)(golden *g, method_case *c);
    /* All of a case that has no `base`: one operation. c has json, settings, start and want. */
    status (*alone)(golden *g, method_case *c);
} method_card;

struct method_case {
    const method_card *card;
    const char *folder; /* of the case; the card's is above it, the trunks' above that */
    cJSON *json;        /* case.json */
    const cJSON *settings, *optim, *expect, *errors; /* members of it; optim NULL: nothing is trained */
    safetensors start, want;
    weights w;
    head_wish head;
    model m;
    peft *p;
    arena tuned;
    examples x;       /* of settings.ids; x.n 0: there is none, and no logits and no trajectory */
    int64_t micro;    /* micro-batches a step: settings.micro_batches_a_step, else 1 */
    trajectory t;
    golden *g;
    void *own; /* the card's */
};

/* A handler for golden_<card>: runs the folder when it holds a case of the card. */
bool method_case_run(golden *g, const char *folder, const method_card *card);

/* The case's path of a file that lies in its own folder, or in the card's. */
const char *method_case_path(const method_case *c, golden *g, const char *name);

/* The case's name of a tuned tensor, in the arena. turned (or NULL): it lies turned there. */
const char *method_case_name(const method_case *c, arena *a, const tuned *x, bool *turned);

/* What is tolerated: ten times f32_error of the group that a tensor's name begins with ("grad" of "grad.a.b"), or of
 * "number:loss"; false: relative to the tensor's largest value. */
double method_case_bound(const method_case *c, const char *name, bool absolute);

/* Compares with the expected tensor, or number `at` of a list of `expect`; nothing where the case has none. */
void method_case_tensor(golden *g, const method_case *c, const char *name, const tensor *got);
void method_case_number(golden *g, const method_case *c, const char *name, int64_t at, double got);

/* The sequences of batch 0, as trace takes them; to be deleted. */
cJSON *method_case_sequences(const method_case *c);

/* The logits of the sequences of batch 0: PREFIX.<i>. Nothing where the case has no PREFIX.0. */
status method_case_logits(golden *g, method_case *c, const char *prefix);

/* Compares values with those of start.safetensors, of tensors whose name there ends with `end`. */
status method_case_starts(golden *g, const method_case *c, const char *end, double bound);

/* Options of a method by the names of its keys, from settings: {key, member of settings} pairs until NULL; members
 * that are missing leave the preset. */
status method_case_options(arena *a, const method_case *c, const peft_method *method, const char *const (*pairs)[2],
                           void **options);

/* Adds a module with these options at the patterns that a list of settings holds. */
status method_case_add(golden *g, method_case *c, const peft_method *method, const void *options, const char *list);

#endif
