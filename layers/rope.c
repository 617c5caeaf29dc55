/* rope: frequencies and their scaling */
#include "layers/rope.h"

#include "core/json.h"

#include <math.h>
#include <string.h>

typedef struct llama3_scaling {
    double factor, low, high, original;
} llama3_scaling;

/* Long wave lengths are slowed down by the factor, short ones stay, between them a blend (the rule
 * of Llama 3.1's reference code). */
static double llama3_frequency(double f, const llama3_scaling *s)
{
    const double length = 2 * 3.14159265358979323846 / f;

    if (length < s->original / s->high)
        return f;
    if (length > s->original / s->low)
        return f / s->factor;
    const double smooth = (s->original / length - s->low) / (s->high - s->low);
    return (1 - smooth) * f / s->factor + smooth * f;
}

static status read_llama3(const cJSON *o, const char *what, llama3_scaling *s)
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

status rope_frequencies(arena *a, const cJSON *config, const char *what, int64_t head_size,
                        const float *divisors, tensor *out)
{
    const cJSON   *fresh = cJSON_GetObjectItemCaseSensitive(config, "rope_parameters");
    const cJSON   *scaling = cJSON_GetObjectItemCaseSensitive(config, "rope_scaling");
    const char    *kind = "default";
    double         theta = 10000, factor = 1;
    llama3_scaling llama3 = {0};

    if (cJSON_IsObject(fresh))
        scaling = fresh;
    TRY(json_double(config, "rope_theta", false, &theta, what));
    if (cJSON_IsObject(scaling)) {
        TRY(json_double(scaling, "rope_theta", false, &theta, what));
        TRY(json_string(scaling, "type", false, &kind, what));
        TRY(json_string(scaling, "rope_type", false, &kind, what));
    }
    if (strcmp(kind, "linear") == 0)
        TRY(json_double(scaling, "factor", true, &factor, what));
    else if (strcmp(kind, "llama3") == 0)
        TRY(read_llama3(scaling, what, &llama3));
    else if (strcmp(kind, "default") != 0)
        return fail(STATUS_UNSUPPORTED,
                    "%s: rope scaling is of type '%s', must be default, linear or llama3", what, kind);
    if (!(theta > 0) || !(factor > 0) || head_size % 2 != 0)
        return fail(STATUS_FORMAT, "%s: rope_theta is %g, factor %g, head size %lld; must be > 0, > 0, even",
                    what, theta, factor, (long long)head_size);

    const int64_t half = head_size / 2;
    double       *v;
    TRY_TAKE(v, a, half);
    for (int64_t i = 0; i < half; i++) {
        double f = pow(theta, -2.0 * (double)i / (double)head_size) / factor;
        if (llama3.factor > 0)
            f = llama3_frequency(f, &llama3);
        if (divisors)
            f /= divisors[i];
        v[i] = f;
    }
    *out = (tensor){.s = shape_1(half), .type = TYPE_F64, .v = v};
    return STATUS_OK;
}
