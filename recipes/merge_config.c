/* merge_config: config.json of a trunk that got another head, or none, from an adapter */
#include "core/text.h"
#include "recipes/merge_config.h"

#include <string.h>

/* What architectures end with, and what stands there for a kind of head. */
static const char *const ends[] = {"ForCausalLM", "LMHeadModel", "ForMaskedLM", "ForPreTraining",
                                   "ForTokenClassification", "ForSequenceClassification", "ForImageClassification",
                                   "ForQuestionAnswering", "Model"};

static const char *end_for(const model *m)
{
    switch (m->head.kind) {
    case HEAD_TAG: return "ForTokenClassification";
    case HEAD_SPAN: return "ForQuestionAnswering";
    case HEAD_NONE: return "Model";
    default: return m->image.channels > 0 ? "ForImageClassification" : "ForSequenceClassification";
    }
}

static void name_architecture(cJSON *config, const model *m)
{
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(config, "architectures");
    const char  *was = cJSON_IsArray(list) && cJSON_IsString(list->child) ? list->child->valuestring : "";
    char         name[256];

    for (size_t i = 0; i < COUNT_OF(ends); i++) {
        if (!text_ends(was, ends[i]))
            continue;
        snprintf(name, sizeof name, "%.*s%s", (int)(strlen(was) - strlen(ends[i])), was, end_for(m));
        cJSON_ReplaceItemInObjectCaseSensitive(config, "architectures",
                                               cJSON_CreateStringArray((const char *const[]){name}, 1));
        return;
    }
}

/* id2label and label2id; classes without a name are called as transformers calls them. */
static void name_classes(cJSON *config, const key_texts *labels, int64_t classes)
{
    cJSON *names = cJSON_CreateObject(), *numbers = cJSON_CreateObject();

    for (int64_t i = 0; i < classes; i++) {
        char number[24], preset[32];
        snprintf(number, sizeof number, "%lld", (long long)i);
        snprintf(preset, sizeof preset, "LABEL_%lld", (long long)i);
        const char *name = i < labels->n ? labels->v[i] : preset;
        cJSON_AddStringToObject(names, number, name);
        cJSON_AddNumberToObject(numbers, name, (double)i);
    }
    cJSON_DeleteItemFromObjectCaseSensitive(config, "id2label");
    cJSON_DeleteItemFromObjectCaseSensitive(config, "label2id");
    cJSON_DeleteItemFromObjectCaseSensitive(config, "num_labels");
    cJSON_AddItemToObject(config, "id2label", names);
    cJSON_AddItemToObject(config, "label2id", numbers);
}

status merge_config(session *s, const char *adapter)
{
    key_texts labels;

    TRY(adapter_labels(&s->setup, adapter, &labels));
    name_architecture(s->w.config, &s->m);
    if (head_has_classes(s->m.head.kind) && s->m.head.kind != HEAD_SPAN)
        name_classes(s->w.config, &labels, s->m.head.classes);
    return STATUS_OK;
}
