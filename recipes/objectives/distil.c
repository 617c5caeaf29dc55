/* distil: a causal model learns what a larger one says (Hinton, Vinyals and Dean 2015)
 *
 * alpha CE + (1 - alpha) T^2 KL(softmax(teacher / T) || softmax(student / T)), mean over targets. The teacher is a
 * second trunk, without modules and frozen, recorded on the same tape: nothing of it but its logits outlives the
 * forward. */
#include "core/text.h"
#include "recipes/objective.h"

#include <string.h>

typedef struct distil_options {
    const char *teacher;
    double      temperature, alpha;
} distil_options;

#define AT(member) offsetof(distil_options, member)
static const key rows[] = {
    {.name = "teacher", .kind = KEY_TEXT, .offset = AT(teacher), .preset = "!",
     .help = "The trunk that is learnt from, written as `base` is; its vocabulary is the base's."},
    {.name = "temperature", .kind = KEY_REAL, .offset = AT(temperature), .preset = "2", .lo = 1e-3, .hi = 1e6,
     .help = "That both models' logits are divided by where they are compared."},
    {.name = "alpha", .kind = KEY_REAL, .offset = AT(alpha), .preset = "0.5", .lo = 0, .hi = 1,
     .help = "Share of the loss on the data's own words; the rest is the teacher's."},
};
#undef AT

/* Where both have a tokenizer. */
static status check_tokens(const session *student, const session *teacher)
{
    const int32_t n = student->words && teacher->words ? tokenizer_size(student->words) : 0;

    if (n > 0 && tokenizer_size(teacher->words) != n)
        return fail(STATUS_USAGE, "teacher %s: its tokenizer has %d tokens, the base's has %d", teacher->base,
                    tokenizer_size(teacher->words), n);
    for (int32_t i = 0; i < n; i++) {
        size_t      own_length = 0, length = 0;
        const char *own = tokenizer_token(student->words, i, &own_length);
        const char *its = tokenizer_token(teacher->words, i, &length);
        if ((own == NULL) != (its == NULL) || own_length != length || (own && memcmp(own, its, length) != 0))
            return fail(STATUS_USAGE, "teacher %s: its token %d is \"%.40s\", the base's is \"%.40s\"",
                        teacher->base, i, its ? its : "", own ? own : "");
    }
    return STATUS_OK;
}

/* A random teacher is not the random base of the same shape. */
static status begin(goal *g)
{
    const distil_options *o = g->options;
    const session        *s = g->s;
    const head_wish       head = {.given = true, .kind = HEAD_CAUSAL};
    session              *t;

    TRY_TAKE(t, &g->s->setup, 1);
    TRY(session_open(t));
    g->teacher = t;
    TRY_IN(session_base_for(t, o->teacher, g->seed + 1, s->w.random && s->w.empty, &head), "in teacher");
    if (t->m.words != s->m.words)
        return fail(STATUS_USAGE, "teacher %s: has %lld words, the base has %lld: must be as many", o->teacher,
                    (long long)t->m.words, (long long)s->m.words);
    return check_tokens(s, t);
}

static var *record_loss(const goal *g, tape *t, model *m, var *hidden, const feed *f, goal_vars *v)
{
    const distil_options      *o = g->options;
    const distillation_options shares = {.temperature = o->temperature, .hard = o->alpha,
                                         .soft = (1 - o->alpha) * o->temperature * o->temperature};
    model                     *teacher = &g->teacher->m;
    stream                     seen = f->recorded;

    seen.tasks = NULL;
    var *x = goal_logits(t, m, hidden, f);
    tape_enter(t, "teacher");
    var *y = goal_logits(t, teacher, model_hidden(teacher, t, &seen), f);
    tape_leave(t);
    return ag_distillation(t, x, y, f->target_ids_var, &shares, &v->each);
}

const objective objective_distil = {
    .name = "distil",
    .help = "The next token, as the data and a teacher have it.",
    .keys = KEY_TABLE("distil", rows, distil_options),
    .task_type = "CAUSAL_LM",
    .head = HEAD_CAUSAL,
    .asks = true,
    .begin = begin,
    .loss = record_loss,
};
