/* every operation's gradients against finite differences, and the check against planted faults */
#include "tests/check.h"

#include "tests/with_gradcheck.h"

#include <math.h>

START_TEST(every_gradient_is_the_derivative)
{
    const op_functions *f = op_variant("f64");
    double              worst = 0;
    int                 failed = 0;

    for (int i = 0; i < grad_case_count; i++) {
        char why[256];
        if (!gradcheck(&grad_cases[i], &f[grad_cases[i].op], why, &worst)) {
            printf("%s\n", why);
            failed++;
        }
    }
    printf("grad: %d cases, largest error %.2g of the bound\n", grad_case_count, worst);
    ck_assert_int_eq(failed, 0);
}
END_TEST

START_TEST(every_operation_has_a_case)
{
    for (int op = 0; op < OP_COUNT; op++) {
        bool found = (op_rows[op].flags & FIXED) != 0;
        for (int i = 0; i < grad_case_count; i++)
            found |= (int)grad_cases[i].op == op;
        ck_assert_msg(found, "%s has no row in tests/grad_cases.def", op_rows[op].name);
    }
}
END_TEST

/* ---- planted faults ----------------------------------------------------------------------------- */

typedef enum fault {
    FAULT_NONE,
    FAULT_SIGN,      /* -gradient */
    FAULT_FACTOR,    /* 1.001 * gradient */
    FAULT_ASSIGNED,  /* not added */
    FAULT_ROW,       /* one row forgotten */
    FAULT_NAN,       /* one value is NaN */
    FAULT_INFINITY,
    FAULT_PAST,      /* a row past those in use is written */
    FAULT_OUT_PAST,  /* the same in an output */
    FAULT_COUNT
} fault;

static const op_functions *honest;
static fault               planted;

static int64_t most_changed(const double *now, const double *before, int64_t n)
{
    int64_t at = 0;

    for (int64_t i = 1; i < n; i++)
        if (fabs(now[i] - before[i]) > fabs(now[at] - before[at]))
            at = i;
    return at;
}

static void spoil(tensor *t, const double *before)
{
    const int64_t n = grad_used_values(t), C = shape_last(t->s);
    double       *v = t->v;
    const int64_t at = most_changed(v, before, n);

    for (int64_t i = 0; i < n; i++)
        v[i] = planted == FAULT_SIGN       ? 2 * before[i] - v[i]
               : planted == FAULT_FACTOR   ? before[i] + 1.001 * (v[i] - before[i])
               : planted == FAULT_ASSIGNED ? v[i] - before[i]
                                           : v[i];
    for (int64_t i = at / C * C; planted == FAULT_ROW && i < at / C * C + C; i++)
        v[i] = before[i];
    if (planted == FAULT_NAN || planted == FAULT_INFINITY)
        v[at] = planted == FAULT_NAN ? NAN : INFINITY;
    if (planted == FAULT_PAST && shape_count(t->s) > n)
        v[n] = 0;
}

static void faulty_backward(const op_args *a)
{
    double *before[OP_IN_MAX] = {NULL};

    for (int i = 0; i < a->n_in; i++)
        if (a->gin[i]) {
            before[i] = malloc(tensor_bytes(a->gin[i]) + 1);
            memcpy(before[i], a->gin[i]->v, tensor_bytes(a->gin[i]));
        }
    honest->backward(a);
    for (int i = 0, done = 0; i < a->n_in; i++) {
        if (a->gin[i] && !done++)
            spoil(a->gin[i], before[i]);
        free(before[i]);
    }
}

static void faulty_forward(const op_args *a)
{
    honest->forward(a);

    const tensor *out = a->out[a->n_out - 1];
    const int64_t n = grad_used_values(out);
    if (planted == FAULT_OUT_PAST && shape_count(out->s) > n)
        ((double *)out->v)[n] = 0;
}

/* True when the case has rows past those in use where the fault would show. */
static bool shows(const grad_case *c, fault f)
{
    const int rows = op_rows[c->op].rows;

    if (f == FAULT_PAST) /* the first gradient is the one that is spoiled */
        for (int i = 0; i < OP_IN_MAX; i++)
            if (c->in[i].kind == GRAD_REAL)
                return c->in[i].used >= 0;
    return f != FAULT_OUT_PAST || (rows != NO_ROWS && c->in[rows].used >= 0 &&
                                   c->in[rows].used < c->in[rows].s.d[0]);
}

START_TEST(every_planted_fault_is_found)
{
    const op_functions faulty = {NULL, faulty_forward, faulty_backward};
    int                found = 0;

    for (int i = 0; i < grad_case_count; i++) {
        const grad_case *c = &grad_cases[i];
        if (shape_count(c->in[0].s) > 200)
            continue;
        honest = &op_variant("f64")[c->op];
        op_functions f = faulty;
        f.shape = honest->shape;
        for (planted = FAULT_NONE; planted < FAULT_COUNT; planted++) {
            char       why[256];
            const bool passed = gradcheck(c, &f, why, NULL);
            if (planted != FAULT_NONE && !shows(c, planted))
                continue;
            ck_assert_msg(passed == (planted == FAULT_NONE), "%s: fault %d %s", c->name, (int)planted,
                          passed ? "was not found" : why);
            found += planted != FAULT_NONE;
        }
    }
    printf("grad: %d planted faults found\n", found);
    ck_assert_int_gt(found, 200);
}
END_TEST

TESTS(grad, every_operation_has_a_case, every_gradient_is_the_derivative, every_planted_fault_is_found)
