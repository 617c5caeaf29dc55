/* fields: of adapter_config.json */
#include "peft/fields.h"

#include <string.h>

static bool is_set(const cJSON *item)
{
    if (!item || cJSON_IsNull(item) || cJSON_IsFalse(item))
        return false;
    if (cJSON_IsNumber(item))
        return item->valuedouble != 0;
    if (cJSON_IsString(item))
        return strcmp(item->valuestring, "none") != 0;
    return !(cJSON_IsArray(item) || cJSON_IsObject(item)) || item->child;
}

status fields_refuse(const cJSON *config, const char *const *names, const char *what)
{
    for (; *names; names++)
        if (is_set(cJSON_GetObjectItemCaseSensitive(config, *names)))
            return fail(STATUS_UNSUPPORTED, "%s: %s is set; this is not in this version", what, *names);
    return STATUS_OK;
}

status fields_share(const cJSON *config, const char *name, double *share, const char *what)
{
    TRY(json_double(config, name, false, share, what));
    if (!(*share >= 0 && *share < 1))
        return fail(STATUS_FORMAT, "%s: %s is %g, must be 0 or more and below 1", what, name, *share);
    return STATUS_OK;
}
