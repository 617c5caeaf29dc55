/* golden LLM-Adapters: series, parallel and prefix adapters and LoRA at the paper's places */
#include "tests/with_method_case.h"

#include "tests/with_options.h"

#include <string.h>

static const method_name names[] = {
    {"lora_A.weight", "lora_A", false},
    {"lora_B.weight", "lora_B", false},
    {"adapter_down.weight", "adapter_down", false},
    {"adapter_up.weight", "adapter_up", false},
    {"adapter_scaling", "adapter_scale", false},
    {"prompt_embeddings", "prefix", false},
    {"prompt_encoder.embedding.weight", "prefix_embedding", false},
    {"prompt_encoder.mlp_head.0.weight", "prefix_w1", false},
    {"prompt_encoder.mlp_head.0.bias", "prefix_b1", false},
    {"prompt_encoder.mlp_head.2.weight", "prefix_w2", false},
    {"prompt_encoder.mlp_head.2.bias", "prefix_b2", false},
};

/* Our options for a case's settings: `scale` is a number or "learned". */
static cJSON *bottleneck_of(const cJSON *settings, const char *place)
{
    const cJSON *scale = cJSON_GetObjectItemCaseSensitive(settings, "scale");
    cJSON *o = cJSON_CreateObject();

    cJSON_AddItemToObject(o, "size", cJSON_Duplicate(cJSON_GetObjectItemCaseSensitive(settings, "bottleneck"), true));
    cJSON_AddItemToObject(o, "act", cJSON_Duplicate(cJSON_GetObjectItemCaseSensitive(settings, "act"), true));
    cJSON_AddStringToObject(o, "place", place);
    if (cJSON_IsString(scale))
        cJSON_AddBoolToObject(o, "learned", true);
    else
        cJSON_AddItemToObject(o, "scale", cJSON_Duplicate(scale, true));
    return o;
}

static status add_bottleneck(golden *g, method_case *c, const char *place)
{
    const peft_method *method = peft_find("bottleneck");
    cJSON *own = bottleneck_of(c->settings, place);
    void *options = NULL;
    const status s = options_from_json(g->a, method->keys, own, NULL, &options);

    cJSON_Delete(own);
    TRY(s);
    return method_case_add(g, c, method, options, "targets");
}

static status add_lora(golden *g, method_case *c)
{
    static const char *const pairs[][2] = {{"rank", "rank"}, {"alpha", "alpha"}, {NULL, NULL}};
    const peft_method *method = peft_find("lora");
    void *options;

    TRY(method_case_options(g->a, c, method, pairs, &options));
    return method_case_add(g, c, method, options, "targets");
}

static status add_prefix(golden *g, method_case *c)
{
    static const char *const pairs[][2] = {
        {"tokens", "virtual"}, {"projection", "projection"}, {"hidden", "hidden"}, {NULL, NULL}};
    static const char *const everywhere[] = {"block.*.kv"};
    const peft_method *method = peft_find("prefix");
    void *options;

    TRY(method_case_options(g->a, c, method, pairs, &options));
    return peft_add(c->p, "main", method, options, everywhere, 1, true);
}

static status add_modules(golden *g, method_case *c)
{
    const char *method = "";

    TRY(json_string(c->settings, "method", true, &method, "settings"));
    if (strcmp(method, "lora") == 0)
        return add_lora(g, c);
    if (strcmp(method, "prefix") == 0)
        return add_prefix(g, c);
    return add_bottleneck(g, c, method);
}

bool golden_llm_adapters(golden *g, const char *folder)
{
    static const method_card card = {.folder = "llm_adapters", .names = names, .n_names = (int)COUNT_OF(names),
                                     .modules = add_modules};

    return method_case_run(g, folder, &card);
}
