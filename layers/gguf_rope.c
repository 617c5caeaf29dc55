/* gguf_rope: Llama 3.1's rotary scaling, which config.json says in four numbers and a GGUF file as a tensor
 */
#include "core/json.h"
#include "layers/gguf_map.h"
#include "layers/rope.h"

#include <math.h>
#include <string.h>

static const double low = 1, high = 4; /* of every checkpoint with this scaling */

static status plain_frequencies(arena *a, const cJSON *config, const char *what, int64_t head_size,
                                double **out)
{
    double theta = 10000;

    TRY(json_double(config, "rope_theta", false, &theta, what));
    if (gguf_map_rope(config))
        TRY(json_double(gguf_map_rope(config), "rope_theta", false, &theta, what));
    TRY_TAKE(*out, a, head_size / 2);
    for (int64_t i = 0; i < head_size / 2; i++)
        (*out)[i] = pow(theta, -2.0 * (double)i / (double)head_size);
    return STATUS_OK;
}

status gguf_rope_divisors(arena *a, const cJSON *config, const char *what, int64_t head_size, float **out)
{
    const cJSON *scaling = gguf_map_rope(config);
    const char  *kind = "default";
    double      *plain;
    rope         scaled;

    *out = NULL;
    if (scaling) {
        TRY(json_string(scaling, "type", false, &kind, what));
        TRY(json_string(scaling, "rope_type", false, &kind, what));
    }
    if (strcmp(kind, "llama3") != 0)
        return STATUS_OK;
    TRY(plain_frequencies(a, config, what, head_size, &plain));
    TRY(rope_read(a, config, what, NULL, 10000, head_size, 2048, NULL, &scaled));
    TRY_TAKE(*out, a, head_size / 2);
    for (int64_t i = 0; i < head_size / 2; i++)
        (*out)[i] = (float)(plain[i] / ((const double *)scaled.frequencies.v)[i]);
    return STATUS_OK;
}

static void set_scaling(cJSON *config, double factor, double original)
{
    cJSON *o = cJSON_CreateObject();

    cJSON_AddStringToObject(o, "rope_type", "llama3");
    cJSON_AddNumberToObject(o, "factor", factor);
    cJSON_AddNumberToObject(o, "low_freq_factor", low);
    cJSON_AddNumberToObject(o, "high_freq_factor", high);
    cJSON_AddNumberToObject(o, "original_max_position_embeddings", original);
    cJSON_DeleteItemFromObjectCaseSensitive(config, "rope_scaling");
    cJSON_AddItemToObject(config, "rope_scaling", o);
}

/* The config's scaling gives these divisors. */
static status gives(arena *a, const cJSON *config, const char *what, int64_t head_size, const float *divisors,
                    bool *same)
{
    const size_t mark = arena_mark(a);
    float       *own;

    TRY(gguf_rope_divisors(a, config, what, head_size, &own));
    *same = true;
    for (int64_t i = 0; i < head_size / 2; i++)
        *same = *same && fabsf(own[i] - divisors[i]) <= 1e-5f * divisors[i];
    arena_rewind(a, mark);
    return STATUS_OK;
}

status gguf_rope_scaling(arena *a, const float *divisors, int64_t head_size, const char *what, cJSON *config)
{
    const int64_t half = head_size / 2;
    double       *plain, factor = 1;
    bool          same;

    TRY(plain_frequencies(a, config, what, head_size, &plain));
    for (int64_t i = 0; i < half; i++)
        factor = fmax(factor, (double)divisors[i]);
    factor = (double)(float)factor;
    for (int64_t i = 0; i < half && factor > 1; i++) { /* a blended divisor tells where the blend lies */
        const double d = (double)divisors[i], share = (1 / d - 1 / factor) / (1 - 1 / factor);
        const double original = 2 * 3.14159265358979323846 / plain[i] * (low + share * (high - low));
        if (!(share > 1e-4 && share < 1 - 1e-4) || !(original >= 1 && original < 1e9))
            continue;
        set_scaling(config, factor, nearbyint(original));
        TRY(gives(a, config, what, head_size, divisors, &same));
        if (same)
            return STATUS_OK;
    }
    for (double original = 1; original < 1e8; original *= 2) {
        set_scaling(config, factor, original);
        TRY(gives(a, config, what, head_size, divisors, &same));
        if (same)
            return STATUS_OK;
    }
    return fail(
        STATUS_UNSUPPORTED,
        "%s: rope_freqs.weight is not what a llama3 rope_scaling (low_freq_factor 1, high_freq_factor 4) "
        "gives; config.json cannot say it",
        what);
}
