/* weights: a trunk without a file, for demonstrations, benchmarks of large shapes, and tests */
#include "layers/weights.h"

#include "core/json.h"

status weights_random(const char *config_path, uint64_t seed, bool empty, weights *out)
{
    *out = (weights){.path = config_path, .random = true, .empty = empty, .seed = seed};
    TRY(json_read(config_path, &out->config));
    if (cJSON_IsObject(out->config))
        return STATUS_OK;
    cJSON_Delete(out->config);
    return fail(STATUS_FORMAT, "%s: must be a JSON object", config_path);
}
