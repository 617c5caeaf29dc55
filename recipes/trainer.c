/* trainer: forward, backward, clip, one optimizer pass */
#include "recipes/trainer.h"

#include "core/text.h"
#include "core/threads.h"
#include "optim/flat_kernels.h"

#include <math.h>
#include <string.h>

/* ---- opening ----------------------------------------------------------------------------------- */

static int group_of(const trainer_options *o, const char *name)
{
    for (int i = 0; i < o->n_groups; i++)
        if (text_matches(o->groups[i].match, name))
            return i;
    return o->n_groups;
}

static status open_groups(trainer *x, arena *a)
{
    const trainer_options *o = &x->o;
    const optim_common    *common = o->optimizer_options;
    double                 smallest = common->lr;

    TRY_TAKE(x->peaks, a, o->n_groups + 1);
    TRY_TAKE(x->groups, a, o->n_groups + 1);
    for (int i = 0; i <= o->n_groups; i++) {
        const trainer_group *g = i < o->n_groups ? &o->groups[i] : NULL;
        x->peaks[i] = g && g->lr >= 0 ? g->lr : common->lr;
        x->groups[i].weight_decay = g && g->weight_decay >= 0 ? g->weight_decay : common->weight_decay;
        if (x->peaks[i] < smallest)
            smallest = x->peaks[i];
    }
    for (int i = 0; i < o->n_groups; i++) {
        bool any = false;
        for (int k = 0; k < x->p->n_tuned; k++)
            any |= text_matches(o->groups[i].match, x->p->tensors[k].name);
        if (!any)
            return fail(STATUS_USAGE, "optim.groups: '%s' matches no tuned tensor; names are like %s",
                        o->groups[i].match, x->p->n_tuned ? x->p->tensors[0].name : "(none)");
    }
    return schedule_open(&x->rate, &o->schedule, o->steps, smallest);
}

/* Rows of the head's last weight and bias that are trained: those of the chosen classes. */
static void choose_rows(const trainer *x, const tuned *u, optim_span *s)
{
    const site   *head = x->m->head.out;
    const goal   *g = x->o.goal;
    const int64_t row = s->count / u->value.s.d[0];

    if (!g || g->class_to == 0 || !u->place || !head || (u->place != head->weight && u->place != head->bias))
        return;
    s->first += g->class_from * row;
    s->count = (g->class_to - g->class_from) * row;
    s->rows = s->rows > 0 ? g->class_to - g->class_from : 0;
}

static status open_spans(trainer *x, arena *a)
{
    const peft *p = x->p;
    bool        heads = false;

    TRY_TAKE(x->spans, a, p->n_tuned + 1);
    TRY_TAKE(x->frozen, a, p->n_tuned + 1);
    for (int i = 0; i < p->n_tuned; i++) {
        const tuned *u = &p->tensors[i];
        const shape  s = u->value.s;
        const bool   head = u->place && model_in_head(x->m, u->place);
        if (u->fixed || !p->modules[u->module].trains)
            continue;
        x->frozen[x->n_spans] = !head;
        heads |= head;
        optim_span *span = &x->spans[x->n_spans++];
        *span = (optim_span){
            .first = u->first, .count = shape_count(s), .group = group_of(&x->o, u->name),
            .rows = s.n >= 2 ? s.d[s.n - 2] : 0, .columns = s.n >= 2 ? s.d[s.n - 1] : 0};
        choose_rows(x, u, span);
    }
    if (x->n_spans == 0)
        return fail(STATUS_USAGE, "nothing is trained: no module with train: yes");
    if (x->o.freeze_steps > 0 && !heads)
        return fail(STATUS_USAGE, "train.freeze_epochs: nothing would be trained in them, for no head for classes is");
    return STATUS_OK;
}

static status open_feed(trainer *x, arena *a)
{
    const goal *g = x->o.goal;

    TRY(feed_open(&x->f, x->m, a, x->o.pack, x->o.source, x->o.seqs));
    if (!g)
        return STATUS_OK;
    x->f.prepare = g->o->prepare;
    x->f.context = g;
    if (g->o->several)
        TRY(feed_open_texts(&x->f, a));
    return g->samples.width > 0 ? feed_open_values(&x->f, a, g->samples.width) : STATUS_OK;
}

/* Backward begins in the terms of hooks too. */
static status seed_terms(trainer *x, arena *a)
{
    tensor *seeds;

    TRY_TAKE(x->term_upstream, a, x->terms.n);
    TRY_TAKE(seeds, a, x->terms.n);
    for (int i = 0; i < x->terms.n; i++) {
        seeds[i] = (tensor){.s = shape_1(1), .type = TYPE_F32, .v = &x->term_upstream[i]};
        tape_keep(x->t, x->terms.v[i].value);
        tape_seed(x->t, x->terms.v[i].value, &seeds[i]);
    }
    return STATUS_OK;
}

static status record_loss(trainer *x, arena *a)
{
    stream s = {0};

    TRY(tape_open(&x->t, TYPE_F32));
    feed_record(&x->f, x->t, &s);
    TRY(peft_terms_begin(x->p, a, &x->terms));
    var *hidden = model_hidden(x->m, x->t, &s);
    peft_terms_end(x->p);
    TRY(seed_terms(x, a));
    if (x->o.goal)
        x->loss = goal_loss(x->o.goal, x->t, x->m, hidden, &x->f, &x->out);
    else
        x->loss = model_loss(x->m, x->t, hidden, x->f.target_rows_var, x->f.target_ids_var, &x->out.each);
    tape_keep(x->t, x->loss);
    if (x->out.scores)
        tape_keep(x->t, x->out.scores);
    return tape_plan(x->t, x->loss, x->o.how);
}

/* What modules add to the mean loss is a function of the tuned values: it runs once a step, times the
 * targets. */
static status record_extra_loss(trainer *x, arena *a)
{
    tensor *seeds;

    TRY(tape_open(&x->extra, TYPE_F32));
    TRY(peft_extra_loss(x->extra, x->p, a, &x->losses));
    TRY_TAKE(x->upstream, a, x->losses.n);
    TRY_TAKE(seeds, a, x->losses.n);
    for (int i = 0; i < x->losses.n; i++) {
        seeds[i] = (tensor){.s = shape_1(1), .type = TYPE_F32, .v = &x->upstream[i]};
        tape_keep(x->extra, x->losses.v[i].value);
        tape_seed(x->extra, x->losses.v[i].value, &seeds[i]);
    }
    if (x->losses.n > 0)
        return tape_plan(x->extra, NULL, RECOMPUTE_NONE);
    tape_close(x->extra);
    x->extra = NULL;
    return STATUS_OK;
}

static status bind_extra_loss(trainer *x)
{
    if (!x->extra)
        return STATUS_OK;
    TRY(arena_open(&x->extra_memory, "what is added to the loss", tape_step_bytes(x->extra) + 4096));
    return tape_bind(x->extra, &x->extra_memory);
}

/* Bytes on the device of the gradients' buffers, and of the optimizer's state. */
static trainer_bill bytes_there(const trainer *x)
{
    const size_t one = device_arena_room((size_t)x->p->size * sizeof(float));

    return (trainer_bill){.gradients = one * (size_t)leaf_sum_buffers(x->o.leaves),
                          .optimizer = optim_device_bytes(x->o.optimizer, x->o.optimizer_options, x->spans,
                                                          x->n_spans)};
}

/* Gradients and optimizer state live on the device, if there is one: of what was taken for them here only the
 * addresses are used. */
static status hold(trainer *x)
{
    const trainer_bill t = bytes_there(x);
    const tensor values[] = {{.s = shape_1(x->p->size), .type = TYPE_F32, .v = x->p->values},
                             {.s = shape_1(x->p->fixed_size), .type = TYPE_F32, .v = x->p->fixed_values}};
    device      *d = device_current();
    dtype        type;

    if (!d)
        return STATUS_OK;
    x->values = !device_find(d, values[0].v, &type); /* session_hold was not called */
    const size_t own = device_arena_room(tensor_bytes(&values[0])) + device_arena_room(tensor_bytes(&values[1]));
    TRY(device_arena_open(d, &x->there, "gradients and optimizer state",
                          t.gradients + t.optimizer + (x->values ? own : 0)));
    for (int i = 0; i < 2 && x->values; i++) {
        if (!values[i].v || shape_count(values[i].s) == 0)
            continue;
        TRY(device_hold(&x->there, &values[i], TYPE_F32));
        device_push(d, &values[i]);
    }
    for (int i = 0; i < x->sum.n_buffers; i++) {
        const tensor buffer = {.s = shape_1(x->p->size), .type = TYPE_F32, .v = x->sum.buffer[i]};
        TRY(device_hold(&x->there, &buffer, TYPE_F32));
    }
    return optim_hold(&x->opt, &x->there);
}

status trainer_open(trainer *x, arena *a, arena *tuned_memory, model *m, peft *p,
                    const trainer_options *o, bool only_plan)
{
    *x = (trainer){.m = m, .p = p, .o = *o, .run = {.seed = o->seed}};
    TRY(open_spans(x, a));
    TRY(open_groups(x, a));
    TRY(open_feed(x, a));
    TRY(record_loss(x, a));
    TRY(record_extra_loss(x, a));
    if (only_plan)
        return STATUS_OK;
    TRY(leaf_sum_open(&x->sum, tuned_memory, p->size, o->leaves));
    TRY(optim_open(&x->opt, tuned_memory, o->optimizer, o->optimizer_options, x->spans, x->n_spans));
    TRY(hold(x));
    TRY(bind_extra_loss(x));
    if (o->step) {
        arena_rewind(o->step, 0);
        return tape_bind(x->t, o->step);
    }
    TRY(arena_open(&x->memory, "step", tape_step_bytes(x->t) + 4096));
    return tape_bind(x->t, &x->memory);
}

void trainer_close(trainer *x)
{
    tape_close(x->t);
    tape_close(x->extra);
    arena_close(&x->extra_memory);
    x->t = x->extra = NULL; /* what is closed once may be closed again */
    if (x->values && x->there.base)
        (void)peft_pull(x->p); /* a device that fails has been named */
    device_arena_close(&x->there);
    arena_close(&x->memory);
}

trainer_bill trainer_memory(const trainer *x)
{
    const size_t flat = (size_t)x->p->size * sizeof(float);

    return (trainer_bill){
        .step = tape_step_bytes(x->t) + (x->extra ? tape_step_bytes(x->extra) : 0),
        .gradients = flat * (size_t)leaf_sum_buffers(x->o.leaves),
        .values = flat * (x->o.slow_copy ? 2 : 1) + (size_t)x->p->fixed_size * sizeof(float),
        .optimizer = (size_t)optim_state_bytes(x->o.optimizer, x->o.optimizer_options, x->spans,
                                               x->n_spans)};
}

trainer_bill trainer_device_memory(const trainer *x)
{
    if (!device_current())
        return (trainer_bill){0};
    trainer_bill t = bytes_there(x);
    t.step = tape_device_bytes(x->t);
    t.scratch = tape_device_scratch(x->t);
    if (x->extra) {
        const size_t scratch = tape_device_scratch(x->extra);
        t.step += tape_device_bytes(x->extra);
        t.scratch = scratch > t.scratch ? scratch : t.scratch;
    }
    return t;
}

/* ---- a step ------------------------------------------------------------------------------------ */

static double loss_value(const trainer *x)
{
    return (double)*(const float *)x->loss->t.v;
}

status trainer_forward(trainer *x, double *loss)
{
    if (x->o.goal)
        goal_turn(x->o.goal, x->run.training);
    tape_set_run(x->t, &x->run);
    feed_load(&x->f);
    tape_forward(x->t);
    TRY(tape_check(x->t));
    *loss = loss_value(x);
    if (isfinite(*loss))
        return STATUS_OK;
    TRY(tape_find_nonfinite(x->t));
    return fail(STATUS_NUMERIC, "head: the loss is %g", *loss);
}

/* Added to the gradients of the first micro-batch, and to its loss. */
static status run_extra_loss(trainer *x, int64_t targets, double *loss)
{
    if (!x->extra)
        return STATUS_OK;
    for (int i = 0; i < x->losses.n; i++)
        x->upstream[i] = (float)(x->losses.v[i].weight * (double)targets);
    tape_set_run(x->extra, &x->run);
    tape_forward(x->extra);
    TRY(tape_check(x->extra));
    for (int i = 0; i < x->losses.n; i++)
        *loss += (double)targets * x->losses.v[i].weight * (double)*(const float *)x->losses.v[i].value->t.v;
    tape_backward(x->extra);
    return STATUS_OK;
}

/* What the terms weigh in the step: each becomes weight * n_targets times its mean over the step's rows. */
static void weigh_terms(trainer *x, const pack_step *plan)
{
    const double rows = plan->n_followed > 0 ? (double)plan->n_followed : 1;

    for (int i = 0; i < x->terms.n; i++)
        x->term_upstream[i] = (float)(x->terms.v[i].weight * (double)plan->n_targets / rows);
}

static void add_terms(const trainer *x, double *loss)
{
    for (int i = 0; i < x->terms.n; i++)
        *loss += (double)x->term_upstream[i] * (double)*(const float *)x->terms.v[i].value->t.v;
}

static status run_leaves(trainer *x, packer *data, const pack_step *plan, double *loss)
{
    leaf_sum_start(&x->sum);
    weigh_terms(x, plan);
    for (int leaf = 0; leaf < plan->n_leaves; leaf++) {
        packer_fill(data, plan, leaf, &x->f.b);
        peft_use_gradients(x->p, leaf_sum_begin(&x->sum));
        TRY_IN(trainer_forward(x, loss), "in step %lld, micro-batch %d", (long long)x->run.step + 1, leaf);
        add_terms(x, loss);
        if (x->f.b.n_targets > 0 || x->terms.n > 0)
            tape_backward(x->t);
        if (leaf == 0)
            TRY(run_extra_loss(x, plan->n_targets, loss));
        leaf_sum_end(&x->sum, *loss);
    }
    return STATUS_OK;
}

/* Values and gradients come here for what modules do after a step, and the values go back. */
static status after_step(trainer *x, float *g, double factor)
{
    tensor          all = {.s = shape_1(x->p->size), .type = TYPE_F32, .v = g};
    const peft_step s = {.step = x->run.step, .steps = x->o.steps, .gradients = g, .factor = factor};
    dtype           type;

    if (!peft_steps(x->p))
        return STATUS_OK;
    TRY(peft_pull(x->p));
    if (device_current() && device_find(device_current(), g, &type))
        device_pull(device_current(), &all);
    TRY(peft_after_step(x->p, &s));
    return peft_push(x->p);
}

/* Gradients of what is frozen become 0. */
static void forget_frozen(trainer *x, float *g)
{
    float *there = flat_find(g);

    for (int i = 0; i < x->n_spans; i++) {
        const optim_span *s = &x->spans[i];
        const size_t      bytes = (size_t)s->count * sizeof *g;
        if (!x->frozen[i])
            continue;
        if (there)
            device_functions(device_current())->zero(there + s->first, bytes);
        else
            memset(g + s->first, 0, bytes);
    }
}

status trainer_step(trainer *x, packer *data, int64_t step, step_report *r)
{
    const bool frozen = step < x->o.freeze_steps;
    pack_step  plan;
    double     loss = 0;

    *r = (step_report){.step = step};
    packer_step(data, &plan);
    if (plan.n_leaves == 0)
        return STATUS_OK;
    x->run.step = (uint32_t)step;
    x->run.training = true;
    TRY(run_leaves(x, data, &plan, &loss));
    if (plan.n_targets == 0)
        return fail(STATUS_USAGE, "step %lld has no target: nothing to learn from", (long long)step + 1);

    float *g = leaf_sum_total(&x->sum, &loss);
    if (frozen)
        forget_frozen(x, g);
    const double factor = clip_gradient(&x->o.clip, g, x->p->size, 1.0 / (double)plan.n_targets,
                                        &r->grad_norm);
    TRY(tape_check(x->t)); /* a device that has failed gives any norm */
    if (!isfinite(r->grad_norm))
        return fail(STATUS_NUMERIC, "step %lld: the gradient's norm is %g", (long long)step + 1,
                    r->grad_norm);
    for (int i = 0; i <= x->o.n_groups; i++)
        x->groups[i].lr = schedule_lr(&x->rate, x->peaks[i], step);
    optim_step(&x->opt, x->p->values, g, factor, x->groups, frozen ? x->frozen : NULL);
    TRY(after_step(x, g, factor));
    if (x->follow)
        TRY(x->follow(x));
    threads_scratch_level();

    r->loss = loss / (double)plan.n_targets;
    r->lr = x->groups[x->o.n_groups].lr;
    r->tokens = plan.n_tokens;
    r->targets = plan.n_targets;
    r->samples = plan.n_samples;
    r->leaves = plan.n_leaves;
    return STATUS_OK;
}

status trainer_evaluate(trainer *x, packer *data, goal_tally *tally, double *loss_sum, int64_t *targets)
{
    pack_step plan;

    *loss_sum = 0;
    *targets = 0;
    x->run.training = false;
    for (packer_step(data, &plan); plan.n_leaves > 0; packer_step(data, &plan)) {
        for (int leaf = 0; leaf < plan.n_leaves; leaf++) {
            double loss;
            packer_fill(data, &plan, leaf, &x->f.b);
            TRY_IN(x->predict ? x->predict(x, &loss) : trainer_forward(x, &loss), "in evaluation");
            *loss_sum += loss;
            if (tally)
                TRY_IN(goal_tally_add(x->o.goal, &x->f.b, &x->out, tally), "in evaluation");
        }
        *targets += plan.n_targets;
    }
    return STATUS_OK;
}
