/* rope: frequencies and their scaling */
#include "layers/rope.h"

#include "core/json.h"

#include <math.h>
#include <string.h>

static const double pi = 3.14159265358979323846;

/* A frequency of the head, made slower by a scaling. */
typedef struct scaling {
    const char *kind;
    double      theta, factor;
    double      original;        /* positions that the trunk was trained with */
    double      low, high;       /* llama3: factors of wave lengths; yarn: channels of the ramp */
    double      attention;       /* yarn: of cos and sin */
} scaling;

/* ---- reading ------------------------------------------------------------------------------------------- */

static status read_llama3(const cJSON *o, const char *what, scaling *s)
{
    TRY(json_double(o, "factor", true, &s->factor, what));
    TRY(json_double(o, "low_freq_factor", true, &s->low, what));
    TRY(json_double(o, "high_freq_factor", true, &s->high, what));
    TRY(json_double(o, "original_max_position_embeddings", true, &s->original, what));
    if (!(s->factor > 0 && s->low > 0 && s->high > s->low && s->original > 0))
        return fail(STATUS_FORMAT,
                    "%s: rope scaling has factor %g, low_freq_factor %g, high_freq_factor %g, "
                    "original_max_position_embeddings %g; must be > 0 and high > low",
                    what, s->factor, s->low, s->high, s->original);
    return STATUS_OK;
}

/* How much attention sharpens with a longer context (Peng et al. 2023, YaRN, eq. 22). */
static double yarn_scale(double factor, double m)
{
    return factor > 1 ? 0.1 * m * log(factor) + 1 : 1;
}

/* The channel that turns `turns` times within the trained positions (eq. 17). */
static double yarn_channel(const scaling *s, double turns, double D)
{
    return D * log(s->original / (turns * 2 * pi)) / (2 * log(s->theta));
}

static status read_yarn(const cJSON *o, const char *what, int64_t positions, double D, scaling *s)
{
    double fast = 32, slow = 1, m = 0, all = 0;
    bool   whole = true;

    s->original = (double)positions;
    s->factor = 0;
    TRY(json_double(o, "original_max_position_embeddings", false, &s->original, what));
    TRY(json_double(o, "factor", false, &s->factor, what));
    TRY(json_double(o, "beta_fast", false, &fast, what));
    TRY(json_double(o, "beta_slow", false, &slow, what));
    TRY(json_double(o, "mscale", false, &m, what));
    TRY(json_double(o, "mscale_all_dim", false, &all, what));
    TRY(json_bool(o, "truncate", false, &whole, what));
    if (s->factor == 0)
        s->factor = (double)positions / s->original;
    s->attention = m != 0 && all != 0 ? yarn_scale(s->factor, m) / yarn_scale(s->factor, all)
                                      : yarn_scale(s->factor, 1);
    TRY(json_double(o, "attention_factor", false, &s->attention, what));
    if (!(s->factor > 0 && s->original > 0 && fast > 0 && slow > 0 && s->theta > 1))
        return fail(STATUS_FORMAT, "%s: rope scaling has factor %g, original_max_position_embeddings %g, beta_fast %g, "
                    "beta_slow %g; must be > 0", what, s->factor, s->original, fast, slow);
    s->low = yarn_channel(s, fast, D);
    s->high = yarn_channel(s, slow, D);
    if (whole) {
        s->low = floor(s->low);
        s->high = ceil(s->high);
    }
    s->low = fmax(s->low, 0);
    s->high = fmin(s->high, D - 1);
    if (s->low == s->high)
        s->high += 0.001;
    return STATUS_OK;
}

static status read_scaling(const cJSON *o, const char *what, int64_t positions, double D, scaling *s)
{
    double part = 1;

    TRY(json_double(o, "rope_theta", false, &s->theta, what));
    TRY(json_string(o, "type", false, &s->kind, what));
    TRY(json_string(o, "rope_type", false, &s->kind, what));
    TRY(json_double(o, "partial_rotary_factor", false, &part, what));
    if (part != 1)
        return fail(STATUS_UNSUPPORTED, "%s: partial_rotary_factor is %g, must be 1", what, part);
    if (strcmp(s->kind, "default") == 0)
        return STATUS_OK;
    if (strcmp(s->kind, "linear") == 0 || strcmp(s->kind, "dynamic") == 0)
        return json_double(o, "factor", true, &s->factor, what);
    if (strcmp(s->kind, "llama3") == 0)
        return read_llama3(o, what, s);
    if (strcmp(s->kind, "yarn") == 0)
        return read_yarn(o, what, positions, D, s);
    return fail(STATUS_UNSUPPORTED,
                "%s: rope scaling is of type '%.60s', must be default, linear, dynamic, yarn or llama3", what, s->kind);
}

/* ---- frequencies --------------------------------------------------------------------------------------- */

/* Long wave lengths are slowed down by the factor, short ones stay, between them a blend (the rule
 * of Llama 3.1's reference code). */
static double llama3_frequency(double f, const scaling *s)
{
    const double length = 2 * pi / f;

    if (length < s->original / s->high)
        return f;
    if (length > s->original / s->low)
        return f / s->factor;
    const double smooth = (s->original / length - s->low) / (s->high - s->low);
    return (1 - smooth) * f / s->factor + smooth * f;
}

/* Channels up to `low` stay, those from `high` on are slowed down, between them a ramp. */
static double yarn_frequency(double f, int64_t channel, const scaling *s)
{
    const double ramp = fmin(fmax(((double)channel - s->low) / (s->high - s->low), 0), 1);

    return f / s->factor * ramp + f * (1 - ramp);
}

static double frequency(int64_t channel, double D, const scaling *s)
{
    const double f = pow(s->theta, -2.0 * (double)channel / D);

    return strcmp(s->kind, "linear") == 0   ? f / s->factor
           : strcmp(s->kind, "llama3") == 0 ? llama3_frequency(f, s)
           : strcmp(s->kind, "yarn") == 0   ? yarn_frequency(f, channel, s)
                                            : f;
}

/* The object that holds the scaling, NULL: none. */
static const cJSON *find_scaling(const cJSON *config, const char *layers)
{
    const cJSON *fresh = cJSON_GetObjectItemCaseSensitive(config, "rope_parameters");
    const cJSON *own = cJSON_GetObjectItemCaseSensitive(fresh, layers ? layers : "full_attention");

    if (cJSON_IsObject(own))
        return own;
    if (layers) /* the config's own scaling is for full attention */
        return NULL;
    return cJSON_IsObject(fresh) ? fresh : cJSON_GetObjectItemCaseSensitive(config, "rope_scaling");
}

status rope_read(arena *a, const cJSON *config, const char *what, const char *layers, double theta, int64_t head_size,
                 int64_t positions, const float *divisors, rope *out)
{
    const cJSON  *o = find_scaling(config, layers);
    const int64_t half = head_size / 2;
    scaling       s = {.kind = "default", .theta = theta, .factor = 1, .attention = 1};
    double       *v;

    if (!layers)
        TRY(json_double(config, "rope_theta", false, &s.theta, what));
    if (cJSON_IsObject(o))
        TRY(read_scaling(o, what, positions, (double)head_size, &s));
    if (!(s.theta > 0) || !(s.factor > 0) || head_size % 2 != 0)
        return fail(STATUS_FORMAT, "%s: rope_theta is %g, factor %g, head size %lld; must be > 0, > 0, even",
                    what, s.theta, s.factor, (long long)head_size);
    TRY_TAKE(v, a, half);
    for (int64_t i = 0; i < half; i++)
        v[i] = frequency(i, (double)head_size, &s) / (divisors ? divisors[i] : 1);
    *out = (rope){.frequencies = {.s = shape_1(half), .type = TYPE_F64, .v = v}, .o = {.scale = s.attention}};
    if (strcmp(s.kind, "dynamic") == 0)
        out->o = (rope_options){.scale = 1, .theta = s.theta, .factor = s.factor, .length = (double)positions};
    return STATUS_OK;
}
