/* test_sparse_delta: chosen values that are trained are those of dense training under a mask, bit for bit; which are
 * chosen; the penalty; what is refused
 * tests/run: no device */
#include "tests/helpers.h"
#include "tests/with_training.h"

#include "core/file.h"
#include "peft/sparse_delta.h"

#include <math.h>

enum { TOKENS = 9, SAMPLES = 4, STEPS = 50 };

/* Embedding and head are two tensors: one that is used twice gets its gradients in another order than two that are. */
static const char untied[] =
    "{\"model_type\": \"llama\", \"hidden_size\": 48, \"intermediate_size\": 80, "
    "\"num_hidden_layers\": 2, \"num_attention_heads\": 4, \"num_key_value_heads\": 2, "
    "\"vocab_size\": 128, \"max_position_embeddings\": 64, \"rms_norm_eps\": 1e-5, "
    "\"tie_word_embeddings\": false, \"attention_bias\": true, \"mlp_bias\": true, "
    "\"initializer_range\": 0.3}";

static const char at_all[] = "re:.*(_proj|embed_tokens)";

static void open_training(training *g, const char *json, const char *method, const char *at, const char *const *names,
                          const double *values, int in_a_batch)
{
    memset(g, 0, sizeof *g);
    if (json)
        small_open_as(&g->s, json, 5);
    else
        small_open(&g->s, 5);
    small_add(&g->s, method, at, names, values);
    training_open(g, SAMPLES, TOKENS, in_a_batch, 1);
}

static void open_sparse(training *g, const char *at, double k)
{
    open_training(g, untied, "sparse_delta", at, (const char *const[]){"k", NULL}, &k, 2);
}

/* The gradient of a step's mean loss, before any clipping, with what the module adds to the loss. */
static float *gradient(training *g)
{
    const float factor = 1 / (float)g->plan.n_targets;
    double      loss = 0;

    leaf_sum_start(&g->t.sum);
    tape_set_run(g->t.t, &g->t.run);
    for (int leaf = 0; leaf < g->plan.n_leaves; leaf++) {
        packer_fill(&g->data, &g->plan, leaf, &g->t.f.b);
        peft_use_gradients(g->s.p, leaf_sum_begin(&g->t.sum));
        feed_load(&g->t.f);
        tape_forward(g->t.t);
        tape_backward(g->t.t);
        for (int i = 0; leaf == 0 && g->t.extra && i < g->t.losses.n; i++)
            g->t.upstream[i] = (float)(g->t.losses.v[i].weight * (double)g->plan.n_targets);
        if (leaf == 0 && g->t.extra) {
            tape_forward(g->t.extra);
            tape_backward(g->t.extra);
        }
        leaf_sum_end(&g->t.sum, 0);
    }
    float *v = leaf_sum_total(&g->t.sum, &loss);
    for (int64_t i = 0; i < g->s.p->size; i++)
        v[i] *= factor;
    return v;
}

static void step(training *g, const uint8_t *mask)
{
    float *v = gradient(g);

    for (int64_t i = 0; mask && i < g->s.p->size; i++)
        v[i] *= (float)mask[i];
    g->t.groups[0].lr = 1e-2;
    optim_step(&g->t.opt, g->s.p->values, v, 1, g->t.groups, NULL);
}

static tuned *standing_in(const peft *p, const char *full)
{
    for (int i = 0; i < p->n_tuned; i++)
        if (p->tensors[i].place && strcmp(p->tensors[i].place->full, full) == 0)
            return &p->tensors[i];
    return NULL;
}

/* 1 at the places in the flat buffer of whole weights that the sparse module trains. */
static uint8_t *mask_of(const training *sparse, training *dense)
{
    uint8_t *mask = arena_take(&dense->s.memory, (size_t)dense->s.p->size, 1);

    memset(mask, 0, (size_t)dense->s.p->size);
    for (int i = 0; i < sparse->s.p->n_tuned; i++) {
        const tuned *x = &sparse->s.p->tensors[i];
        if (!x->part)
            continue;
        const tuned *whole = standing_in(dense->s.p, x->place->full);
        ck_assert_ptr_nonnull(whole);
        const int32_t *at = x->part->places->value.v;
        for (int64_t k = 0; k < shape_count(x->part->places->value.s); k++)
            mask[whole->first + at[k]] = 1;
    }
    return mask;
}

/* Weights that one module trains are, bit for bit, those of the other. */
static void compare(const training *sparse, const training *dense)
{
    int n = 0;

    peft_settle(sparse->s.p);
    for (int i = 0; i < dense->s.p->n_tuned; i++) {
        const tuned *whole = &dense->s.p->tensors[i], *part = standing_in(sparse->s.p, whole->place->full);
        const float *want = whole->value.v, *got = part ? part->value.v : whole->kept.v;
        ck_assert_msg(memcmp(got, want, tensor_bytes(&whole->value)) == 0, "%s differs", whole->name);
        n += part != NULL;
    }
    ck_assert_int_gt(n, 10);
}

/* The optimizer's arithmetic and order are the same, value by value. */
START_TEST(chosen_values_move_as_under_a_mask)
{
    training       sparse, dense;
    const uint8_t *mask;

    open_sparse(&sparse, at_all, 700);
    open_training(&dense, untied, "full", at_all, NULL, NULL, 2);
    ck_assert_int_eq(sparse.plan.n_leaves, 2);
    mask = mask_of(&sparse, &dense);
    for (int i = 0; i < STEPS; i++) {
        step(&sparse, NULL);
        step(&dense, mask);
    }
    compare(&sparse, &dense);
    training_close(&sparse);
    training_close(&dense);
}
END_TEST

START_TEST(all_values_chosen_are_full_training)
{
    training sparse, dense;

    open_training(&dense, untied, "full", at_all, NULL, NULL, 2);
    open_sparse(&sparse, at_all, (double)dense.s.p->trained);
    for (int i = 0; i < 10; i++) {
        step(&sparse, NULL);
        step(&dense, NULL);
    }
    compare(&sparse, &dense);
    training_close(&sparse);
    training_close(&dense);
}
END_TEST

/* Nothing but the chosen values moves, whatever decays; the trunk gets all of its own back. */
START_TEST(nothing_else_moves)
{
    training g;
    int64_t  changed = 0, chosen = 0;

    open_sparse(&g, "*", 500);
    g.t.groups[0].weight_decay = 0.3;
    for (int i = 0; i < 5; i++)
        step(&g, NULL);
    peft_settle(g.s.p);
    for (int i = 0; i < g.s.p->n_tuned; i++) {
        const tuned *x = &g.s.p->tensors[i];
        if (!x->part)
            continue;
        ck_assert_ptr_null(strstr(x->place->full, "norm"));
        const float   *now = x->value.v, *before = x->kept.v;
        const int32_t *at = x->part->places->value.v;
        const int64_t  n = shape_count(x->part->places->value.s);
        for (int64_t k = 0, next = 0; k < shape_count(x->value.s); k++) {
            const bool is_chosen = next < n && at[next] == k;
            next += is_chosen;
            ck_assert(is_chosen || now[k] == before[k]);
            changed += now[k] != before[k];
        }
        chosen += n;
        ck_assert_ptr_eq(x->place->value.v, x->value.v);
    }
    ck_assert_int_eq(chosen, 500);
    ck_assert_int_gt(changed, 480);
    peft_detach(g.s.p);
    for (int i = 0; i < g.s.p->n_tuned; i++)
        if (g.s.p->tensors[i].part) {
            ck_assert_ptr_eq(g.s.p->tensors[i].place->value.v, g.s.p->tensors[i].kept.v);
            ck_assert_ptr_null(g.s.p->tensors[i].place->part);
        }
    training_close(&g);
}
END_TEST

/* Gradients and optimizer state are for the chosen values alone: padding is at most 15 values a tensor. */
START_TEST(state_is_as_large_as_what_is_chosen)
{
    training g;

    open_sparse(&g, at_all, 700);
    ck_assert_int_eq(g.s.p->trained, 700);
    ck_assert_int_le(g.s.p->size, 700 + 15 * g.s.p->n_tuned);
    training_close(&g);
}
END_TEST

/* Central differences of the f32 mean loss, 1e-6 of noise over 2^-7. */
START_TEST(gradients_of_chosen_values_are_derivatives)
{
    static const trace_options plain = {0};
    small                      s;
    int                        checked = 0, of_rows = 0, of_biases = 0;
    const double               k = 4000;

    small_open(&s, 7);
    small_add(&s, "sparse_delta", "*", (const char *const[]){"k", NULL}, &k);
    for (int i = 0; i < s.p->n_tuned; i++) {
        const tuned *x = &s.p->tensors[i];
        const bool   row = x->part && strstr(x->name, "embed_tokens"), bias = x->part && strstr(x->name, ".bias");
        if (!x->part || (checked >= 20 && !(row && !of_rows)))
            continue;
        const char         *names[] = {x->part->values->name};
        const trace_options with = {.gradients = names, .n_gradients = 1};
        const trace_result  r = small_trace(&s, &with);
        const float        *g = r.items[r.n - 1].t.v;
        int64_t             most = 0;
        for (int64_t j = 0; j < shape_count(x->part->values->value.s); j++)
            most = fabsf(g[j]) > fabsf(g[most]) ? j : most;
        float *v = (float *)x->part->values->value.v + most, was = *v;
        *v = was + 0x1p-8f;
        const double up = small_trace(&s, &plain).loss;
        *v = was - 0x1p-8f;
        const double want = (up - small_trace(&s, &plain).loss) / 0x1p-7;
        *v = was;
        ck_assert_msg(fabs(g[most] - want) < 5e-4 + 2e-2 * fabs(want), "%s: %g, must be %g", x->name,
                      (double)g[most], want);
        checked++;
        of_rows += row;
        of_biases += bias;
    }
    ck_assert_int_ge(checked, 20);
    ck_assert_int_gt(of_rows, 0);
    ck_assert_int_gt(of_biases, 0);
    small_close(&s);
}
END_TEST

/* A tied head reads the changed embedding; one that was parted keeps what was there. */
START_TEST(a_parted_head_stays)
{
    const double values[] = {500, 1};

    for (int parted = 0; parted < 2; parted++) {
        small s;
        small_open(&s, 7);
        small_add(&s, "sparse_delta", "embed_tokens", (const char *const[]){"k", "untie", NULL},
                  (const double[]){values[0], parted});
        const model_weight *head = s.m.head.out->weight, *words = model_words(&s.m)->weight;
        ck_assert_int_eq(head != words, parted);
        ck_assert_ptr_nonnull(words->part);
        ck_assert_int_eq(head->part != NULL, !parted);
        ck_assert_int_eq(peft_parts_tied(s.p), parted);
        if (parted)
            ck_assert_ptr_eq(head->value.v, standing_in(s.p, words->full)->kept.v);
        small_close(&s);
    }
    small s;
    small_open_as(&s, untied, 7);
    const peft_method *m = peft_find("sparse_delta");
    void              *options = small_options(&s, m, (const char *const[]){"untie", NULL}, (const double[]){1});
    const char        *at = "embed_tokens";
    MUST_FAIL(peft_add(s.p, "main", m, options, &at, 1, true), "are not one weight");
    small_close(&s);
}
END_TEST

/* ---- which values ------------------------------------------------------------------------------------------ */

enum { MOST = 4 };

static void select_scores(const float first[MOST], const float second[MOST], int64_t k, lottery_ties ties,
                          const char *want)
{
    uint8_t        masks[2][MOST] = {{0}};
    lottery_tensor x[] = {{.name = "b", .n = MOST, .now = second, .mask = masks[1]},
                          {.name = "a", .n = MOST, .now = first, .mask = masks[0]}};
    int64_t        chosen, n = 0;

    MUST(lottery_select(x, 2, k, ties, &chosen));
    for (int i = 0; i < 2 * MOST; i++) {
        ck_assert_msg(masks[i / MOST][i % MOST] == want[i] - '0', "k %lld: value %d", (long long)k, i);
        n += want[i] == '1';
    }
    ck_assert_int_eq(chosen, n);
}

START_TEST(ties_are_kept_or_capped_in_order)
{
    const float a[MOST] = {0, 0, 0, .5f}, b[MOST] = {.5f, -.5f, 1, 2};

    select_scores(a, b, 3, LOTTERY_KEEP, "00011111");
    select_scores(a, b, 3, LOTTERY_CAP, "00010011");
    select_scores(a, b, 4, LOTTERY_CAP, "00011011");
    select_scores(a, b, 7, LOTTERY_KEEP, "11111111");
    select_scores(a, b, 7, LOTTERY_CAP, "11011111");
    select_scores(a, b, 1, LOTTERY_KEEP, "00000001");
    select_scores(a, b, 8, LOTTERY_CAP, "11111111");
}
END_TEST

START_TEST(masks_add_up)
{
    float          start[MOST] = {1, 1, 1, 1}, now[MOST] = {1, 3, 1.5f, 0.75f};
    uint8_t        mask[MOST] = {0};
    lottery_tensor x = {.name = "a", .n = MOST, .now = now, .start = start, .mask = mask};
    int64_t        chosen;

    MUST(lottery_select_moved(&x, 1, 1, LOTTERY_CAP, &chosen));
    ck_assert_mem_eq(mask, ((uint8_t[]){0, 1, 0, 0}), MOST);
    MUST(lottery_select_moved(&x, 1, 1, LOTTERY_CAP, &chosen)); /* the second one is not free any more */
    ck_assert_mem_eq(mask, ((uint8_t[]){0, 1, 1, 0}), MOST);
    MUST_FAIL(lottery_select_moved(&x, 1, 2, LOTTERY_CAP, &chosen), "only 1 of 2 moved");
    MUST_FAIL(lottery_select(&x, 1, 3, LOTTERY_CAP, &chosen), "must be 1..2");
    MUST_FAIL(lottery_select(&x, 1, 0, LOTTERY_CAP, &chosen), "must be 1..2");
    now[3] = NAN;
    MUST_FAIL(lottery_select(&x, 1, 1, LOTTERY_CAP, &chosen), "a: the score of value 3 is not a number");
}
END_TEST

START_TEST(a_share_is_rounded_down)
{
    int64_t k;

    MUST(lottery_count(0.25, 10, &k));
    ck_assert_int_eq(k, 2);
    MUST(lottery_count(10, 10, &k));
    ck_assert_int_eq(k, 10);
    MUST_FAIL(lottery_count(0.05, 10, &k), "must be 1..10");
    MUST_FAIL(lottery_count(11, 10, &k), "must be 1..10");
    MUST_FAIL(lottery_count(2.5, 10, &k), "must be a whole number");
    MUST_FAIL(lottery_count(NAN, 10, &k), "k is nan");
}
END_TEST

static void *options_with(small *s, const char *name, double value)
{
    return small_options(s, peft_find("sparse_delta"), (const char *const[]){name, NULL}, &value);
}

static status add(small *s, void *options, const char *at)
{
    return peft_add(s->p, "main", peft_find("sparse_delta"), options, &at, 1, true);
}

/* The places of the first tensor that has any. */
static const tuned_part *first_part(const small *s)
{
    for (int i = 0; i < s->p->n_tuned; i++)
        if (s->p->tensors[i].part)
            return s->p->tensors[i].part;
    return NULL;
}

/* Random ones follow the seed; the largest are the largest. */
START_TEST(masks_are_made_as_asked)
{
    small s, t;

    small_open(&s, 7);
    small_open(&t, 7);
    MUST(add(&s, options_with(&s, "k", 0.1), "q_proj"));
    MUST(add(&t, options_with(&t, "k", 0.1), "q_proj"));
    MUST(peft_allocate(s.p, &s.tuned));
    MUST(peft_allocate(t.p, &t.tuned));
    ck_assert_int_eq(s.p->trained, 3 * (48 * 48 + 48) / 10);
    ck_assert_mem_eq(first_part(&s)->places->value.v, first_part(&t)->places->value.v,
                     tensor_bytes(&first_part(&s)->places->value));
    small_close(&s);
    small_close(&t);

    small_open(&s, 7);
    void *options = options_with(&s, "mask", 1);
    MUST(add(&s, options, "q_proj"));
    MUST(peft_allocate(s.p, &s.tuned));
    double least = INFINITY, most = 0;
    for (int i = 0; i < s.p->n_tuned; i++) {
        const tuned *x = &s.p->tensors[i];
        for (int64_t k = 0, next = 0; x->part && k < shape_count(x->value.s); k++) {
            const int32_t *at = x->part->places->value.v;
            const double   size = fabs((double)((const float *)x->kept.v)[k]);
            const bool     chosen = next < shape_count(x->part->places->value.s) && at[next] == k;
            next += chosen;
            if (chosen)
                least = fmin(least, size);
            else
                most = fmax(most, size);
        }
    }
    ck_assert(least >= most);
    small_close(&s);
}
END_TEST

/* What a procedure selects is trained; names and sizes must fit. */
START_TEST(what_is_selected_is_trained)
{
    static const char name[] = "model.layers.1.self_attn.q_proj.weight";
    const int32_t     at[] = {3, 17, 2303};
    sparse_places     one = {.name = name, .n = 3, .of = 2304, .at = at};
    const sparse_mask mask = {1, &one};
    small             s;
    void             *options;

    small_open(&s, 7);
    sparse_delta_select(options = options_with(&s, NULL, 0), &mask);
    MUST(add(&s, options, "q_proj"));
    MUST(peft_allocate(s.p, &s.tuned));
    ck_assert_int_eq(s.p->trained, 3);
    ck_assert_mem_eq(first_part(&s)->places->value.v, at, sizeof at);
    small_close(&s);

    small_open(&s, 7);
    sparse_delta_select(options = options_with(&s, NULL, 0), &mask);
    MUST_FAIL(add(&s, options, "v_proj"), "is no tensor of the module's sites");
    small_close(&s);
    one.of = 2305;
    small_open(&s, 7);
    sparse_delta_select(options = options_with(&s, NULL, 0), &mask);
    MUST_FAIL(add(&s, options, "q_proj"), "has 2304 values, the chosen ones are of 2305");
    small_close(&s);
}
END_TEST

static void write_mask(small *s, const char *path, const char *name, shape shape_there, uint8_t first)
{
    uint8_t               *v = arena_take(&s->memory, (size_t)shape_count(shape_there), 1);
    const safetensors_item item = {name, {.s = shape_there, .type = TYPE_U8, .v = v}};

    memset(v, 0, (size_t)shape_count(shape_there));
    v[0] = first;
    v[5] = 1;
    MUST(safetensors_write(path, &item, 1, NULL, 0));
}

static status add_masked(small *s, const char *path)
{
    const key_table *keys = peft_find("sparse_delta")->keys;
    char            *options = options_with(s, "mask", 2);

    for (int i = 0; i < keys->n; i++)
        if (strcmp(keys->keys[i].name, "mask_file") == 0)
            *(const char **)(options + keys->keys[i].offset) = path;
    return add(s, options, "q_proj");
}

START_TEST(a_mask_is_read_and_checked)
{
    static const char q[] = "model.layers.1.self_attn.q_proj.weight";
    const struct {
        const char *name, *says;
        int64_t     rows;
        uint8_t     first;
    } wrong[] = {{"model.layers.1.self_attn.v_proj.weight", "is no tensor of the module's sites", 48, 1},
                 {q, "must be U8 or BOOL [48, 48]", 47, 1},
                 {q, "is 2, must be 0 or 1", 48, 2}};
    char  folder[64], path[128];
    small s;

    test_folder(folder);
    snprintf(path, sizeof path, "%s/mask.safetensors", folder);
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        small_open(&s, 7);
        write_mask(&s, path, wrong[i].name, shape_2(wrong[i].rows, 48), wrong[i].first);
        MUST_FAIL(add_masked(&s, path), wrong[i].says);
        small_close(&s);
    }
    small_open(&s, 7);
    MUST_FAIL(add_masked(&s, NULL), "no mask_file");
    small_close(&s);
    small_open(&s, 7);
    write_mask(&s, path, q, shape_2(48, 48), 1);
    MUST(add_masked(&s, path));
    ck_assert_int_eq(s.p->trained, 2);
    small_close(&s);
    MUST(folder_remove_tree(folder));
}
END_TEST

START_TEST(what_cannot_be_is_refused)
{
    small        s;
    const double k = 100;

    small_open(&s, 7);
    MUST_FAIL(add(&s, options_with(&s, "k", 100), "norm"), "norms, which stay as they are without `norms: yes`");
    small_close(&s);
    small_open(&s, 7);
    MUST_FAIL(add(&s, options_with(&s, "k", 1e6), "q_proj"), "k is 1e+06: 1000000 values, must be 1..7056");
    small_close(&s);
    small_open(&s, 7);
    small_add(&s, "sparse_delta", "q_proj", (const char *const[]){"k", NULL}, &k);
    const char *at = "q_proj";
    MUST_FAIL(peft_add(s.p, "other", peft_find("full"), small_options(&s, peft_find("full"), NULL, NULL), &at, 1, true),
              "is trained by two modules");
    small_close(&s);
}
END_TEST

/* ---- the penalty -------------------------------------------------------------------------------------------- */

/* lambda / N sign(p - p0), once a step, however many micro-batches there are: with the penalty and without, f32 sums of
 * about 1e-2 differ by that to within a few roundings of 1e-9. */
START_TEST(the_penalty_counts_once_a_step)
{
    const double lambda = 500;

    for (int in_a_batch = 1; in_a_batch <= SAMPLES; in_a_batch *= 4) {
        training without, with;
        double   n_all = 0;
        open_training(&without, untied, "sparse_delta", at_all, (const char *const[]){"k", "l1", NULL},
                      (const double[]){600, 0}, in_a_batch);
        open_training(&with, untied, "sparse_delta", at_all, (const char *const[]){"k", "l1", NULL},
                      (const double[]){600, lambda}, in_a_batch);
        for (int i = 0; i < with.s.m.n_tensors; i++)
            n_all += (double)shape_count(with.s.m.tensors[i].value.s);
        const float *a = gradient(&without), *b = gradient(&with);
        ck_assert_mem_eq(a, b, (size_t)with.s.p->size * sizeof *a); /* nothing has moved: sign(0) = 0 */
        small_stir(&without.s, 8);
        small_stir(&with.s, 8);
        a = gradient(&without);
        b = gradient(&with);
        double sum = 0, said = 0;
        for (int i = 0; i < with.s.p->n_tuned; i++) {
            const tuned_part *x = with.s.p->tensors[i].part;
            for (int64_t k = 0; x && k < shape_count(x->values->value.s); k++) {
                const double moved = (double)((const float *)x->values->value.v)[k] -
                                     (double)((const float *)x->start->value.v)[k];
                const double want = lambda / n_all * (moved > 0 ? 1 : -1);
                const double got = (double)b[x->values->first + k] - (double)a[x->values->first + k];
                ck_assert_msg(fabs(got - want) < 1e-6 * fabs(want) + 4e-7 * fabs((double)a[x->values->first + k]),
                              "%g, must be %g", got, want);
                sum += fabs(moved);
            }
        }
        for (int i = 0; i < with.t.losses.n; i++)
            said += with.t.losses.v[i].weight * (double)*(const float *)with.t.losses.v[i].value->t.v;
        ck_assert_double_eq_tol(said, lambda / n_all * sum, 1e-6 * said);
        training_close(&without);
        training_close(&with);
    }
}
END_TEST

/* The same for whole weights, whose start is the trunk's; an untied head's copy counts among all values. */
START_TEST(the_penalty_of_whole_weights)
{
    training g;
    double   n_all = 128 * 48, sum = 0, said = 0;

    open_training(&g, NULL, "full", "re:.*(q_proj|embed_tokens)", (const char *const[]){"l1", "untie", NULL},
                  (const double[]){500, 1}, 2);
    for (int i = 0; i < g.s.m.n_tensors; i++)
        n_all += (double)shape_count(g.s.m.tensors[i].value.s);
    small_stir(&g.s, 8);
    gradient(&g);
    for (int i = 0; i < g.s.p->n_tuned; i++)
        for (int64_t k = 0; k < shape_count(g.s.p->tensors[i].value.s); k++)
            sum += fabs((double)((const float *)g.s.p->tensors[i].value.v)[k] -
                        (double)((const float *)g.s.p->tensors[i].kept.v)[k]);
    for (int i = 0; i < g.t.losses.n; i++)
        said += g.t.losses.v[i].weight * (double)*(const float *)g.t.losses.v[i].value->t.v;
    ck_assert_double_eq_tol(said, 500 / n_all * sum, 1e-6 * said);
    training_close(&g);
}
END_TEST

TESTS(sparse_delta, chosen_values_move_as_under_a_mask, all_values_chosen_are_full_training, nothing_else_moves,
      state_is_as_large_as_what_is_chosen, gradients_of_chosen_values_are_derivatives, a_parted_head_stays,
      ties_are_kept_or_capped_in_order, masks_add_up, a_share_is_rounded_down, masks_are_made_as_asked,
      what_is_selected_is_trained, a_mask_is_read_and_checked, what_cannot_be_is_refused, the_penalty_counts_once_a_step,
      the_penalty_of_whole_weights)
