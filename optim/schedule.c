/* schedule: one function a name, each gives the share of the peak */
#include "optim/schedule.h"

#include <math.h>
#include <string.h>

#define PI 3.14159265358979323846

#define REAL(field, hi_, unit_, text)                                                              \
    {                                                                                              \
        .name = #field, .kind = KEY_REAL, .offset = offsetof(schedule_options, field),             \
        .preset = "0", .lo = 0, .hi = hi_, .unit = unit_, .help = text                             \
    }

static const key schedule_rows[] = {
    {.name = "schedule",
     .kind = KEY_CHOICE,
     .offset = offsetof(schedule_options, schedule),
     .preset = "constant",
     .choices = "constant|constant_with_warmup|linear|cosine|cosine_with_restarts|"
                "cosine_with_min_lr|polynomial|inverse_sqrt|wsd",
     .help = "How the learning rate runs over the steps."},
    REAL(warmup, 1e12, "steps", "Rise from 0; below 1: share of the steps, rounded up."),
    REAL(num_cycles, 1e6, "", "Waves: 0.5 for cosine and wsd, 1 for cosine_with_restarts."),
    REAL(min_lr, 1e6, "", "cosine_with_min_lr: the lowest rate."),
    REAL(min_lr_ratio, 1, "", "cosine_with_min_lr, wsd: the lowest rate as a share of lr."),
    REAL(lr_end, 1e6, "", "polynomial: the last rate."),
    REAL(power, 1e3, "", "polynomial: the exponent; 0 means 1."),
    REAL(timescale, 1e12, "steps", "inverse_sqrt; 0 means the warm-up, or 10000 without one."),
    REAL(num_stable_steps, 1e12, "steps", "wsd: steps at the peak; 0 means all that are left."),
    REAL(num_decay_steps, 1e12, "steps", "wsd: below 1 a share of the steps; 0 means 0.1."),
    {.name = "warmup_type",
     .kind = KEY_CHOICE,
     .offset = offsetof(schedule_options, warmup_type),
     .preset = "linear",
     .choices = "linear|cosine|1-sqrt",
     .help = "wsd: shape of the rise."},
    {.name = "decay_type",
     .kind = KEY_CHOICE,
     .offset = offsetof(schedule_options, decay_type),
     .preset = "cosine",
     .choices = "linear|cosine|1-sqrt",
     .help = "wsd: shape of the fall."},
};
const key_table schedule_keys = KEY_TABLE("schedule", schedule_rows, schedule_options);

/* 0 at the end of the warm-up, 1 at the last step's end. */
static double progress(const schedule *s, double t)
{
    return (t - s->warmup) / fmax(1, s->steps - s->warmup);
}

static double flat(const schedule *s, double peak, double t)
{
    (void)s, (void)peak, (void)t;
    return 1;
}

static double linear(const schedule *s, double peak, double t)
{
    (void)peak;
    return fmax(0, (s->steps - t) / fmax(1, s->steps - s->warmup));
}

static double cosine(const schedule *s, double peak, double t)
{
    (void)peak;
    return 0.5 * (1 + cos(PI * s->o.num_cycles * 2 * progress(s, t)));
}

static double cosine_with_restarts(const schedule *s, double peak, double t)
{
    const double x = progress(s, t);

    (void)peak;
    return x >= 1 ? 0 : 0.5 * (1 + cos(PI * fmod(s->o.num_cycles * x, 1)));
}

static double cosine_with_min_lr(const schedule *s, double peak, double t)
{
    const double lowest = s->o.min_lr > 0 ? s->o.min_lr / peak : s->o.min_lr_ratio;

    return cosine(s, peak, t) * (1 - lowest) + lowest;
}

static double polynomial(const schedule *s, double peak, double t)
{
    if (t >= s->steps)
        return s->o.lr_end / peak;
    return ((peak - s->o.lr_end) * pow(1 - progress(s, t), s->o.power) + s->o.lr_end) / peak;
}

static double inverse_sqrt(const schedule *s, double peak, double t)
{
    (void)peak;
    return 1 / sqrt((t + s->o.timescale - s->warmup) / s->o.timescale);
}

/* Rises from 0 to 1 as x does. */
static double rise(const char *type, double cycles, double x)
{
    if (strcmp(type, "linear") == 0)
        return x;
    if (strcmp(type, "cosine") == 0)
        return 0.5 * (1 - cos(PI * 2 * cycles * x));
    return 1 - sqrt(1 - x);
}

static double wsd(const schedule *s, double peak, double t)
{
    const double lowest = s->o.min_lr_ratio, x = (t - s->warmup - s->stable) / fmax(1, s->decay);

    (void)peak;
    if (t < s->warmup)
        return rise(s->o.warmup_type, 0.5, t / s->warmup) * (1 - lowest) + lowest;
    if (t < s->warmup + s->stable)
        return 1;
    if (x >= 1)
        return lowest;
    const double fall = strcmp(s->o.decay_type, "1-sqrt") == 0
                            ? 1 - sqrt(x)
                            : 1 - rise(s->o.decay_type, s->o.num_cycles, x);
    return fall * (1 - lowest) + lowest;
}

enum { CYCLES = 1, MIN_LR = 2, MIN_RATIO = 4, END = 8, SCALE = 16, PHASES = 32 };

static const struct {
    const char *name;
    double (*share)(const schedule *s, double peak, double t);
    int reads;
    double num_cycles; /* own default */
} kinds[] = {
    {"constant", flat, 0, 0},
    {"constant_with_warmup", flat, 0, 0},
    {"linear", linear, 0, 0},
    {"cosine", cosine, CYCLES, 0.5},
    {"cosine_with_restarts", cosine_with_restarts, CYCLES, 1},
    {"cosine_with_min_lr", cosine_with_min_lr, CYCLES | MIN_LR | MIN_RATIO, 0.5},
    {"polynomial", polynomial, END, 0},
    {"inverse_sqrt", inverse_sqrt, SCALE, 0},
    {"wsd", wsd, CYCLES | MIN_RATIO | PHASES, 0.5},
};

double schedule_steps(double value, int64_t steps)
{
    /* 0.07 * 100 is a hair above 7 in binary; that is not a step more */
    return value < 1 ? ceil(value * (double)steps * (1 - 1e-12)) : floor(value);
}

static status refuse_unread(const schedule *s)
{
    const schedule_options *o = &s->o;
    const struct {
        const char *name;
        int key;
        bool set;
    } given[] = {
        {"num_cycles", CYCLES, o->num_cycles != 0},
        {"min_lr", MIN_LR, o->min_lr != 0},
        {"min_lr_ratio", MIN_RATIO, o->min_lr_ratio != 0},
        {"lr_end", END, o->lr_end != 0},
        {"power", END, o->power != 0},
        {"timescale", SCALE, o->timescale != 0},
        {"num_stable_steps", PHASES, o->num_stable_steps != 0},
        {"num_decay_steps", PHASES, o->num_decay_steps != 0},
        {"warmup_type", PHASES, o->warmup_type && strcmp(o->warmup_type, "linear") != 0},
        {"decay_type", PHASES, o->decay_type && strcmp(o->decay_type, "cosine") != 0},
    };

    for (size_t i = 0; i < COUNT_OF(given); i++)
        if (given[i].set && !(kinds[s->kind].reads & given[i].key))
            return fail(STATUS_USAGE, "optim: %s is set, but the schedule %s does not use it",
                        given[i].name, o->schedule);
    return STATUS_OK;
}

static status set_phases(schedule *s, int64_t steps)
{
    s->decay = schedule_steps(s->o.num_decay_steps > 0 ? s->o.num_decay_steps : 0.1, steps);
    s->stable =
        s->o.num_stable_steps > 0 ? floor(s->o.num_stable_steps) : s->steps - s->warmup - s->decay;
    if (s->stable < 0)
        return fail(STATUS_USAGE,
                    "optim: wsd has %.0f steps of warm-up and %.0f of decay, the run only %.0f",
                    s->warmup, s->decay, s->steps);
    return STATUS_OK;
}

status schedule_open(schedule *s, const schedule_options *options, int64_t steps, double peak)
{
    *s = (schedule){.o = *options, .kind = -1, .steps = (double)steps};
    CHECK(options->schedule != NULL && steps >= 0);
    for (size_t i = 0; i < COUNT_OF(kinds); i++)
        if (strcmp(kinds[i].name, options->schedule) == 0)
            s->kind = (int)i;
    if (s->kind < 0)
        return fail(STATUS_USAGE, "optim: schedule is '%s', must be one of %s", options->schedule,
                    schedule_rows[0].choices);
    TRY(refuse_unread(s));
    if (options->min_lr > 0 && options->min_lr_ratio > 0)
        return fail(STATUS_USAGE, "optim: min_lr and min_lr_ratio say the same, give one");
    if (options->min_lr > peak || (options->lr_end > 0 && options->lr_end >= peak))
        return fail(STATUS_USAGE, "optim: the lowest rate is %g, must be below lr = %g",
                    fmax(options->min_lr, options->lr_end), peak);
    s->warmup = schedule_steps(options->warmup, steps);
    if (s->o.num_cycles == 0)
        s->o.num_cycles = kinds[s->kind].num_cycles;
    if (s->o.power == 0)
        s->o.power = 1;
    if (s->o.timescale == 0)
        s->o.timescale = s->warmup > 0 ? s->warmup : 10000;
    if (!s->o.warmup_type)
        s->o.warmup_type = "linear";
    if (!s->o.decay_type)
        s->o.decay_type = "cosine";
    return kinds[s->kind].share == wsd ? set_phases(s, steps) : STATUS_OK;
}

double schedule_lr(const schedule *s, double peak, int64_t t)
{
    if ((double)t < s->warmup && kinds[s->kind].share != wsd)
        return peak * ((double)t / s->warmup);
    if (peak == 0)
        return 0;
    return peak * fmax(0, kinds[s->kind].share(s, peak, (double)t));
}
