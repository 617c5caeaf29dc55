/* mistral: llama with a window of keys (Jiang et al. 2023) */
#include "core/json.h"
#include "layers/decoder.h"

static const decoder_presets presets = {.act_key = "hidden_act", .act = "silu", .positions = 131072, .theta = 1e4};

static bool everywhere(int64_t layer, int64_t n)
{
    (void)layer, (void)n;
    return true;
}

static status mistral_open(arena *a, model *m)
{
    const cJSON   *config = m->source->config, *slides = cJSON_GetObjectItemCaseSensitive(config, "sliding_window");
    decoder_config c;
    int64_t        window = 4096;

    TRY(decoder_read_config(a, m, &presets, &c));
    if (cJSON_IsNull(slides)) /* an absent key means 4096, null no window */
        window = 0;
    TRY(json_int(config, "sliding_window", false, 1, INT32_MAX, &window, "config.json"));
    TRY(decoder_windows(a, config, window, everywhere, 0, &c));
    return decoder_open(a, m, &c);
}

const model_family model_mistral = {.name = "mistral", .open = mistral_open, .hidden = decoder_hidden};
