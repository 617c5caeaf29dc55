/* adafactor, adafactor_torch: second moments of a matrix as the product of a row and a column
 * vector (Shazeer and Stern, "Adafactor: adaptive learning rates with sublinear memory cost", 2018)
 *
 * A matrix keeps r[rows] and c[columns], running means of g^2 along the other side;
 * V = r c / mean(r). A tensor of more sizes is a stack of matrices; a vector keeps V whole.
 * rms() is over the tensor.
 *
 * adafactor, as transformers.Adafactor: the decay in step n is 1 - n^decay_rate, on g^2 + eps[0]
 *   u  = g / sqrt(V),  u /= max(1, rms(u) / clip_threshold)
 *   a  = lr, or min(1e-2 | 1e-6 n (warmup_init), 1/sqrt(n)) with relative_step;
 *        times max(eps[1], rms(p)) with scale_parameter
 *   u *= a;  with beta1: m = beta1 m + (1 - beta1) u, and m in the place of u
 *   p -= a wd p + u
 * adafactor_torch, as torch.optim.Adafactor: the decay is 1 - n^beta2_decay, on g^2
 *   p *= 1 - lr wd
 *   u  = g / sqrt(max(V, eps[0]^2)), mean(r) at least eps[0]
 *   p -= max(eps[1], rms(p)) min(lr, 1/sqrt(n)) u / max(1, rms(u) / d)
 * One thread works on one tensor. */
#include "optim/options.h"

#include "core/threads.h"

#include <math.h>

typedef struct adafactor_options {
    optim_common common;
    key_texts eps;
    double decay_rate;     /* also torch's beta2_decay */
    double clip_threshold; /* also torch's d */
    double beta1;
    bool scale_parameter, relative_step, warmup_init;
} adafactor_options;

#define REAL(name, member, preset, lo, hi, help)                                                   \
    OPTION_REAL(adafactor_options, name, member, preset, lo, hi, help)
#define BOOL(member, preset, help) OPTION_BOOL(adafactor_options, member, preset, help)
#define EPS(preset)                                                                                \
    OPTION_LIST(adafactor_options, "eps", eps, preset,                                             \
                "Least second moment, least size of a parameter.")

static const key adafactor_rows[] = {
    REAL("lr", common.lr, "0", 0, 1e6, "Learning rate; only with relative_step: no."),
    EPS("[1e-30, 1e-3]"),
    REAL("clip_threshold", clip_threshold, "1", 1e-30, 1e30, "Largest rms of an update."),
    REAL("decay_rate", decay_rate, "-0.8", -10, 0, "The decay in step n is 1 - n^this."),
    REAL("beta1", beta1, "0", 0, 1, "Momentum of the update; 0 keeps none."),
    OPTION_DECAY(adafactor_options, "0"),
    BOOL(scale_parameter, "yes", "Scale the rate with the parameter's rms."),
    BOOL(relative_step, "yes", "The rate follows the steps; no schedule is used."),
    BOOL(warmup_init, "no", "relative_step begins with 1e-6 a step."),
};
static const key torch_rows[] = {
    REAL("lr", common.lr, "1e-2", 0, 1e6, "Largest rate relative to the parameter's rms."),
    EPS("[1.1920928955078125e-07, 1e-3]"),
    REAL("beta2_decay", decay_rate, "-0.8", -10, 0, "The decay in step n is 1 - n^this."),
    REAL("d", clip_threshold, "1", 1e-30, 1e30, "Largest rms of an update."),
    OPTION_DECAY(adafactor_options, "0"),
};
static const key_table adafactor_keys = KEY_TABLE("adafactor", adafactor_rows, adafactor_options);
static const key_table torch_keys = KEY_TABLE("adafactor_torch", torch_rows, adafactor_options);

static const char *const adafactor_slot_names[] = {"row", "column", "m"};

static int adafactor_slots(const void *options)
{
    return ((const adafactor_options *)options)->beta1 > 0 ? 3 : 2;
}

/* A vector keeps its whole second moment in "row". */
static int64_t adafactor_slot_count(const void *options, const optim_span *span, int slot)
{
    (void)options;
    if (slot == 2)
        return span->count;
    if (span->rows == 0)
        return slot == 0 ? span->count : 0;
    return span->count / (slot == 0 ? span->columns : span->rows);
}

static status adafactor_setup(optim *o)
{
    const adafactor_options *a = o->options;

    if (a->relative_step && a->common.lr > 0)
        return fail(STATUS_USAGE, "adafactor: lr is %g and relative_step on, only one may be",
                    a->common.lr);
    if (!a->relative_step && a->common.lr == 0)
        return fail(STATUS_USAGE, "adafactor: relative_step is off, so lr must be above 0");
    if (a->warmup_init && !a->relative_step)
        return fail(STATUS_USAGE, "adafactor: warmup_init needs relative_step");
    return optim_numbers(o->kind, "eps", &a->eps, 2, 0, 1, o->c);
}

static status torch_setup(optim *o)
{
    const adafactor_options *a = o->options;

    return optim_numbers(o->kind, "eps", &a->eps, 2, 0, 1, o->c);
}

static double rms(const float *v, int64_t n)
{
    double sum = 0;

    for (int64_t i = 0; i < n; i++)
        sum += (double)v[i] * v[i];
    return n ? sqrt(sum / (double)n) : 0;
}

/* What one tensor's step works with: add goes on every g^2; least_mean and least are the smallest
 * mean(r) and V that count. */
typedef struct factored {
    int64_t rows, columns, matrices; /* rows 0: a vector */
    double scale, fresh, add, least_mean, least;
} factored;

/* Moves the running means of one matrix towards the means of this gradient. */
static void factors_update(const factored *f, const float *g, float *row, float *column)
{
    double *sums = threads_scratch(1, (size_t)f->columns * sizeof *sums);

    for (int64_t c = 0; c < f->columns; c++)
        sums[c] = 0;
    for (int64_t r = 0; r < f->rows; r++) {
        double sum = 0;
        for (int64_t c = 0; c < f->columns; c++) {
            const double x = f->scale * g[r * f->columns + c], square = x * x + f->add;
            sum += square;
            sums[c] += square;
        }
        row[r] += (float)(f->fresh * (sum / (double)f->columns - row[r]));
    }
    for (int64_t c = 0; c < f->columns; c++)
        column[c] += (float)(f->fresh * (sums[c] / (double)f->rows - column[c]));
}

static double row_mean(const factored *f, const float *row)
{
    double sum = 0;

    for (int64_t r = 0; r < f->rows; r++)
        sum += row[r];
    return fmax(sum / (double)f->rows, f->least_mean);
}

static double update_of(const factored *f, float g, double second)
{
    return f->scale * g / sqrt(fmax(second, f->least));
}

/* Calls of `visit` see every value's u in order: once to measure, once to apply. */
static double for_each_update(const factored *f, const optim_piece *k,
                              void (*visit)(void *context, int64_t i, double u), void *context)
{
    double sum = 0;

    if (f->rows == 0)
        for (int64_t i = 0; i < k->n; i++) {
            const double u = update_of(f, k->g[i], k->s[0][i]);
            sum += u * u;
            if (visit)
                visit(context, i, u);
        }
    for (int64_t b = 0, i = 0; b < f->matrices; b++) {
        const float *row = k->s[0] + b * f->rows, *column = k->s[1] + b * f->columns;
        const double mean = row_mean(f, row);
        for (int64_t r = 0; r < f->rows; r++)
            for (int64_t c = 0; c < f->columns; c++, i++) {
                const double u = update_of(f, k->g[i], (double)row[r] * column[c] / mean);
                sum += u * u;
                if (visit)
                    visit(context, i, u);
            }
    }
    return sum;
}

static double second_moments(const factored *f, const optim_piece *k)
{
    if (f->rows == 0)
        for (int64_t i = 0; i < k->n; i++) {
            const double x = f->scale * k->g[i];
            k->s[0][i] += (float)(f->fresh * (x * x + f->add - k->s[0][i]));
        }
    for (int64_t b = 0; b < f->matrices; b++)
        factors_update(f, k->g + b * f->rows * f->columns, k->s[0] + b * f->rows,
                       k->s[1] + b * f->columns);
    return sqrt(for_each_update(f, k, NULL, NULL) / (double)k->n);
}

typedef struct apply_args {
    const optim_piece *k;
    double rate, keep, beta1;
} apply_args;

static void apply_one(void *context, int64_t i, double u)
{
    const apply_args *a = context;
    double change = a->rate * u;

    if (a->beta1 > 0) {
        float *m = a->k->s[2] + i;
        *m += (float)((1 - a->beta1) * (change - *m));
        change = *m;
    }
    a->k->p[i] = (float)(a->keep * a->k->p[i] - change);
}

static factored factored_of(const optim *o, const optim_piece *k)
{
    const optim_span *s = &o->spans[k->span];
    const adafactor_options *a = o->options;

    return (factored){
        .rows = s->rows,
        .columns = s->columns,
        .matrices = s->rows ? s->count / (s->rows * s->columns) : 0,
        .scale = k->scale,
        .fresh = pow((double)k->step, a->decay_rate),
    };
}

static void adafactor_piece(const optim *o, const optim_piece *k)
{
    const adafactor_options *a = o->options;
    const double n = (double)k->step;
    factored f = factored_of(o, k);
    double rate = k->lr;

    f.add = o->c[0];
    if (a->relative_step)
        rate = fmin(a->warmup_init ? 1e-6 * n : 1e-2, 1 / sqrt(n));
    if (a->scale_parameter)
        rate *= fmax(o->c[1], rms(k->p, k->n));
    const double size = second_moments(&f, k);
    apply_args apply = {k, rate / fmax(1, size / a->clip_threshold), 1 - rate * k->weight_decay,
                        a->beta1};
    for_each_update(&f, k, apply_one, &apply);
}

static void torch_piece(const optim *o, const optim_piece *k)
{
    const adafactor_options *a = o->options;
    factored f = factored_of(o, k);
    const double rate = fmax(o->c[1], rms(k->p, k->n)) * fmin(k->lr, 1 / sqrt((double)k->step));

    f.least_mean = o->c[0];
    f.least = o->c[0] * o->c[0];
    const double size = second_moments(&f, k);
    apply_args apply = {k, rate / fmax(1, size / a->clip_threshold), 1 - k->lr * k->weight_decay,
                        0};
    for_each_update(&f, k, apply_one, &apply);
}

const optimizer optim_adafactor = {
    .name = "adafactor",
    .keys = &adafactor_keys,
    .whole = true,
    .slot_names = adafactor_slot_names,
    .slots = adafactor_slots,
    .slot_count = adafactor_slot_count,
    .setup = adafactor_setup,
    .piece = adafactor_piece,
};

const optimizer optim_adafactor_torch = {
    .name = "adafactor_torch",
    .keys = &torch_keys,
    .whole = true,
    .slot_names = adafactor_slot_names,
    .slots = adafactor_slots,
    .slot_count = adafactor_slot_count,
    .setup = torch_setup,
    .piece = torch_piece,
};
