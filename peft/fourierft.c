/* fourierft: W' = W + scaling Re(ifft2(F)), F [out, in] with n trained values at fixed random places, else
 * zero (Gao et al. 2024, eq. 3). With c_k at row u_k and column v_k that is
 *
 *     W'[o,i] = W[o,i] + scaling / (out in) sum_k c_k cos(2 pi (o u_k / out + i v_k / in)),
 *
 * two products of Fourier columns, cos cos^T - sin sin^T. The places are PEFT's, drawn by torch's generator
 * from location_seed, and no part of the file. */
#include "peft/fields.h"
#include "peft/patterns.h"
#include "peft/peft.h"
#include "peft/torch_random.h"

#include "core/json.h"

typedef struct fourier_options {
    int64_t n, seed;
    double  scaling;
    bool    zero;
    key_map n_pattern;
} fourier_options;

#define AT(member) offsetof(fourier_options, member)
static const key fourier_keys[] = {
    {.name = "frequencies", .kind = KEY_INT, .offset = AT(n), .preset = "1000", .lo = 1, .hi = 16777216,
     .help = "Number of trained values of a site's spectrum."},
    {.name = "scaling", .kind = KEY_REAL, .offset = AT(scaling), .preset = "150", .lo = 1e-9, .hi = 1e9,
     .help = "The change of the weight is scaled by it."},
    {.name = "location_seed", .kind = KEY_INT, .offset = AT(seed), .preset = "777", .lo = 0,
     .hi = 4294967295.0,
     .help = "Seed of the places, the same for all sites of a shape."},
    {.name = "zero_start", .kind = KEY_BOOL, .offset = AT(zero), .preset = "no",
     .help = "Start at zero, without effect, instead of at normal numbers."},
    {.name = "frequency_pattern", .kind = KEY_MAP, .offset = AT(n_pattern), .lo = 1, .hi = 16777216,
     .whole = true,
     .help = "Other numbers of frequencies for sites whose checkpoint name ends with the pattern."},
};
static const key_table fourier_table = KEY_TABLE("fourierft", fourier_keys, fourier_options);

typedef struct fourier_state {
    peft  *p;
    tuned *c;
    tensor rows, columns; /* i32 [n] */
    double scale;
} fourier_state;

static status frequencies(const fourier_options *o, const site *s, int64_t *n)
{
    double value = (double)o->n;

    TRY(pattern_value(&o->n_pattern, s->checkpoint, &value));
    if (value > (double)(s->in * s->out))
        return fail(STATUS_SHAPE, "fourierft: frequencies is %.0f, must be 1..%lld", value,
                    (long long)(s->in * s->out));
    *n = (int64_t)value;
    return STATUS_OK;
}

/* In the order in which they were drawn: that of the file's values. */
static status draw_places(const fourier_options *o, const site *s, arena *a, int64_t n, fourier_state *f)
{
    int32_t     *v;
    int64_t     *flat;
    torch_random r;

    TRY_TAKE(v, a, 2 * n);
    const size_t mark = arena_mark(a);
    TRY_TAKE(flat, a, n);
    torch_seed(&r, (uint64_t)o->seed);
    TRY(torch_permutation(&r, a, s->in * s->out, n, flat));
    for (int64_t i = 0; i < n; i++) {
        v[i] = (int32_t)(flat[i] / s->in);
        v[n + i] = (int32_t)(flat[i] % s->in);
    }
    arena_rewind(a, mark);
    f->rows = (tensor){.s = shape_1(n), .type = TYPE_I32, .v = v};
    f->columns = (tensor){.s = shape_1(n), .type = TYPE_I32, .v = v + n};
    return STATUS_OK;
}

static status fourier_attach(const peft_attach *at, const void *options, void **state)
{
    const fourier_options *o = options;
    const tuned_start      normal = {.how = INIT_NORMAL, .size = 1};
    fourier_state         *f;
    int64_t                n = 0;

    TRY(frequencies(o, at->s, &n));
    TRY_TAKE(f, at->p->a, 1);
    *f = (fourier_state){.p = at->p, .scale = o->scaling / ((double)at->s->in * (double)at->s->out)};
    TRY(draw_places(o, at->s, at->p->a, n, f));
    TRY(peft_tuned(at, "fourierft_spectrum", shape_1(n), o->zero ? START_ZERO : normal, &f->c));
    *state = f;
    return STATUS_OK;
}

static var *fourier_weight(tape *t, const site *s, void *state, var *w)
{
    const fourier_state *f = state;
    var                 *part[2];

    for (int sine = 0; sine < 2; sine++) {
        var *rows = ag_waves(t, tape_tensor(t, &f->rows), s->out, sine);
        var *columns = ag_waves(t, tape_tensor(t, &f->columns), s->in, sine);
        part[sine] = ag_linear(t, ag_affine(t, rows, peft_var(t, f->p, f->c), NULL), columns, NULL);
    }
    return ag_add(t, w, ag_scale(t, ag_add(t, part[0], ag_scale(t, part[1], -1)), f->scale));
}

static int64_t fourier_count(const site *s, const void *options)
{
    int64_t n = 0;

    return frequencies(options, s, &n) == STATUS_OK ? n : -1;
}

static status fourier_write_config(const void *options, cJSON *config)
{
    const fourier_options *o = options;

    cJSON_AddStringToObject(config, "peft_type", "FOURIERFT");
    cJSON_AddNumberToObject(config, "n_frequency", (double)o->n);
    cJSON_AddNumberToObject(config, "scaling", o->scaling);
    cJSON_AddNumberToObject(config, "random_loc_seed", (double)o->seed);
    cJSON_AddBoolToObject(config, "fan_in_fan_out", false);
    cJSON_AddBoolToObject(config, "init_weights", o->zero);
    pattern_write(config, "n_frequency_pattern", &o->n_pattern);
    return STATUS_OK;
}

static status fourier_read_config(const cJSON *config, arena *a, void *options, const char *what)
{
    static const char *const off[] = {"bias", NULL};
    fourier_options         *o = options;

    *o = (fourier_options){.n = 1000, .seed = 777, .scaling = 150};
    TRY(fields_refuse(config, off, what));
    TRY(json_int(config, "n_frequency", false, 1, 16777216, &o->n, what));
    TRY(json_int(config, "random_loc_seed", false, 0, UINT32_MAX, &o->seed, what));
    TRY(json_double(config, "scaling", false, &o->scaling, what));
    TRY(json_bool(config, "init_weights", false, &o->zero, what));
    return pattern_read(config, "n_frequency_pattern", a, &o->n_pattern, what);
}

static uint32_t fourier_traits(const void *options)
{
    return PEFT_MERGES | PEFT_FILE | (((const fourier_options *)options)->zero ? PEFT_IDENTITY_AT_START : 0);
}

const peft_method peft_fourierft = {
    .name = "fourierft",
    .sites = SITE_LINEAR,
    .traits = PEFT_MERGES | PEFT_FILE,
    .traits_with = fourier_traits,
    .keys = &fourier_table,
    .help = "Trains a few values of the Fourier spectrum of a weight's change (Gao et al. 2024).",
    .attach = fourier_attach,
    .weight = fourier_weight,
    .count = fourier_count,
    .write_config = fourier_write_config,
    .read_config = fourier_read_config,
};
