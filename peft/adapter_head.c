/* adapter: the head that an adapter brings along */
#include "core/file.h"
#include "core/json.h"
#include "core/safetensors.h"
#include "core/text.h"
#include "peft/adapter.h"

#include <string.h>

/* PEFT's task types with heads that the base need not have, and how their last weight may be called. */
static const struct {
    const char *type;
    head_kind   kind;
    const char *weights[4];
} tasks[] = {
    {"SEQ_CLS", HEAD_CLASSIFY, {"classifier.out_proj.weight", "classifier.weight", "score.weight", NULL}},
    {"TOKEN_CLS", HEAD_TAG, {"classifier.weight", "score.weight", NULL, NULL}},
    {"QUESTION_ANS", HEAD_SPAN, {"qa_outputs.weight", NULL, NULL, NULL}},
    {"FEATURE_EXTRACTION", HEAD_NONE, {NULL, NULL, NULL, NULL}}, /* the bare trunk */
};

static status read_task_type(arena *a, const char *folder, size_t *task)
{
    char       *path = path_join(a, folder, "adapter_config.json");
    cJSON      *config;
    const char *type = NULL;

    *task = COUNT_OF(tasks);
    if (!path)
        return STATUS_MEMORY;
    TRY(json_read(path, &config));
    const status s = json_string(config, "task_type", false, &type, path);
    for (size_t i = 0; s == STATUS_OK && type && i < COUNT_OF(tasks); i++)
        if (strcmp(type, tasks[i].type) == 0)
            *task = i;
    cJSON_Delete(config);
    return s;
}

/* Rows of the head's last weight in the file, 0: it holds none. */
static int64_t classes_in(const safetensors *f, const char *const weights[4])
{
    char name[128];

    for (int i = 0; i < 4 && weights[i]; i++) {
        snprintf(name, sizeof name, "base_model.model.%s", weights[i]);
        const safetensors_entry *e = safetensors_find(f, name);
        if (e && e->t.s.n == 2)
            return e->t.s.d[0];
    }
    return 0;
}

status adapter_head(arena *a, const char *folder, head_wish *out)
{
    char       *path = path_join(a, folder, "adapter_model.safetensors");
    safetensors f;
    size_t      task;

    *out = (head_wish){0};
    TRY(read_task_type(a, folder, &task));
    if (!path)
        return STATUS_MEMORY;
    if (task == COUNT_OF(tasks))
        return STATUS_OK;
    if (tasks[task].kind == HEAD_NONE) {
        *out = (head_wish){.given = true, .kind = HEAD_NONE};
        return STATUS_OK;
    }
    TRY(safetensors_open(a, path, &f));
    const int64_t classes = classes_in(&f, tasks[task].weights);
    safetensors_close(&f);
    if (classes > 0)
        *out = (head_wish){.given = true, .kind = tasks[task].kind, .classes = classes};
    return STATUS_OK;
}
