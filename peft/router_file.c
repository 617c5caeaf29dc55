/* router_file: a router's folder names its modules' folders, in the order that numbers them, and what these hold */
#include "peft/router.h"

#include "core/file.h"
#include "core/json.h"
#include "core/sha256.h"

#include <string.h>
#include <strings.h>

static const char list_name[] = "modules";

/* One digest of all that an adapter's folder says. */
static status hash_folder(arena *a, const char *folder, char hex[SHA256_HEX])
{
    static const char *const files[] = {"adapter_config.json", "adapter_model.safetensors"};
    char                     both[2 * SHA256_HEX];

    for (int i = 0; i < 2; i++) {
        const char *path = path_join(a, folder, files[i]);
        if (!path)
            return STATUS_MEMORY;
        TRY(sha256_file(path, both + i * (SHA256_HEX - 1)));
    }
    return sha256_bytes(both, 2 * (SHA256_HEX - 1), hex);
}

/* The folder of a list's entry, as seen from here. */
static status entry_folder(arena *a, const char *folder, const cJSON *entry, const char *what, const char **out)
{
    const char *text;

    TRY(json_string(entry, "folder", true, &text, what));
    *out = text[0] == '/' ? arena_string(a, text, strlen(text)) : path_join(a, folder, text);
    return *out ? STATUS_OK : STATUS_MEMORY;
}

status router_write(const peft *p, int number, const char *folder, cJSON *config)
{
    const module *m = &p->modules[number];
    cJSON        *list = cJSON_AddArrayToObject(config, list_name);

    for (int i = 0; i < m->n_over; i++) {
        const char *name = p->modules[m->over[i]].name, *path = path_join(p->a, folder, name);
        cJSON      *entry = cJSON_CreateObject();
        char        hex[SHA256_HEX];
        cJSON_AddItemToArray(list, entry);
        if (!path)
            return STATUS_MEMORY;
        TRY(hash_folder(p->a, path, hex));
        cJSON_AddStringToObject(entry, "name", name);
        cJSON_AddStringToObject(entry, "folder", name);
        cJSON_AddStringToObject(entry, "sha256", hex);
    }
    return STATUS_OK;
}

/* ---- reading -------------------------------------------------------------------------------------------- */

static const peft_method *of_type(const char *type)
{
    int                       n;
    const peft_method *const *all = peft_routers(&n);

    for (int i = 0; i < n; i++)
        if (strcasecmp(all[i]->name, type) == 0)
            return all[i];
    return NULL;
}

static status read_list(const cJSON *config, const char *what, const cJSON **list)
{
    *list = cJSON_GetObjectItemCaseSensitive(config, list_name);
    if (!cJSON_IsArray(*list) || cJSON_GetArraySize(*list) < 1 || cJSON_GetArraySize(*list) >= PEFT_MODULES_MAX)
        return fail(STATUS_FORMAT, "%s: %s must be a list of 1..%d adapters", what, list_name, PEFT_MODULES_MAX - 1);
    return STATUS_OK;
}

static status check_entry(const peft *p, const module *m, int i, const char *folder, const cJSON *entry,
                          const char *what)
{
    const char *name, *path, *hash, *must = p->modules[m->over[i]].name;
    char        hex[SHA256_HEX];

    TRY(json_string(entry, "name", true, &name, what));
    if (strcmp(name, must) != 0)
        return fail(STATUS_FORMAT, "%s: adapter %d is %.100s, must be %s: the gates were trained for another order",
                    what, i, name, must);
    TRY(entry_folder(p->a, folder, entry, what, &path));
    TRY(json_string(entry, "sha256", true, &hash, what));
    TRY(hash_folder(p->a, path, hex));
    if (strcmp(hash, hex) != 0)
        return fail(STATUS_FORMAT, "%s: adapter %d, %s, is not the one that the gates were trained for (SHA-256 "
                    "%.12s..., this one is %.12s...)", what, i, path, hash, hex);
    return STATUS_OK;
}

static status check_list(const peft *p, int number, const char *folder, const cJSON *config, const char *what)
{
    const module *m = &p->modules[number];
    const cJSON  *list, *entry;
    const char   *type;
    int           i = 0;

    TRY(json_string(config, "peft_type", true, &type, what));
    if (of_type(type) != m->method)
        return fail(STATUS_FORMAT, "%s: peft_type is '%.60s', must be that of the router %s", what, type,
                    m->method->name);
    TRY(read_list(config, what, &list));
    if (cJSON_GetArraySize(list) != m->n_over)
        return fail(STATUS_FORMAT, "%s: has %d adapters, the router %s has %d", what, cJSON_GetArraySize(list),
                    m->name, m->n_over);
    cJSON_ArrayForEach(entry, list)
        TRY(check_entry(p, m, i++, folder, entry, what));
    return STATUS_OK;
}

status router_check(const peft *p, int number, const char *folder)
{
    const size_t mark = arena_mark(p->a);
    const char  *path = path_join(p->a, folder, "adapter_config.json");
    cJSON       *config;

    if (!path)
        return STATUS_MEMORY;
    TRY(json_read(path, &config));
    const status s = check_list(p, number, folder, config, path);
    cJSON_Delete(config);
    arena_rewind(p->a, mark);
    return s;
}

status router_is_folder(arena *a, const char *folder, bool *is)
{
    const char *path = path_join(a, folder, "adapter_config.json");
    cJSON      *config;

    *is = false;
    if (!path)
        return STATUS_MEMORY;
    if (!path_exists(path))
        return STATUS_OK;
    TRY(json_read(path, &config));
    const cJSON *type = cJSON_GetObjectItemCaseSensitive(config, "peft_type");
    *is = cJSON_IsString(type) && of_type(type->valuestring);
    cJSON_Delete(config);
    return STATUS_OK;
}

static status add_listed(peft *p, const char *folder, const cJSON *config, const char *what)
{
    const cJSON       *list, *entry;
    const peft_method *method;
    const char        *type;
    const char       **names;
    void              *options;
    int                n = 0;

    TRY(json_string(config, "peft_type", true, &type, what));
    method = of_type(type);
    CHECK(method && p->n_modules == 0);
    options = arena_take(p->a, 1, method->keys->size);
    if (!options)
        return STATUS_MEMORY;
    TRY(method->read_config(config, p->a, options, what));
    TRY(read_list(config, what, &list));
    TRY_TAKE(names, p->a, cJSON_GetArraySize(list));
    cJSON_ArrayForEach(entry, list)
    {
        const char *name, *path;
        TRY(json_string(entry, "name", true, &name, what));
        TRY(entry_folder(p->a, folder, entry, what, &path));
        names[n] = arena_string(p->a, name, strlen(name));
        if (!names[n])
            return STATUS_MEMORY;
        TRY_IN(adapter_add(p, path, names[n], false), "adapter %d of %s", n, what);
        p->modules[n++].folder = path;
    }
    TRY_IN(peft_route(p, "router", method, options, names, n), "in %s", what);
    p->modules[n].folder = folder;
    return STATUS_OK;
}

status router_add(peft *p, const char *folder)
{
    const char *path = path_join(p->a, folder, "adapter_config.json");
    cJSON      *config;

    if (!path)
        return STATUS_MEMORY;
    TRY(json_read(path, &config));
    const status s = add_listed(p, folder, config, path);
    cJSON_Delete(config);
    return s;
}
