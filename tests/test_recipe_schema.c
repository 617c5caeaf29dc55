/* schema and methods: what editors and people get from the tables */
#include "tests/helpers.h"
#include "tests/with_recipe.h"

#include "core/json.h"
#include "recipes/recipe_keys.h"

static char *schema_text(size_t *length)
{
    char *text = NULL;
    FILE *f = open_memstream(&text, length);

    MUST(schema_json(&fake_registry, f));
    fclose(f);
    return text;
}

static const cJSON *at(const cJSON *o, const char *path)
{
    char  name[64];
    for (const char *p = path; *p && o; p += *p == '/') {
        const size_t n = strcspn(p, "/");
        snprintf(name, sizeof name, "%.*s", (int)n, p);
        o = cJSON_IsArray(o) ? cJSON_GetArrayItem(o, atoi(name))
                             : cJSON_GetObjectItemCaseSensitive(o, name);
        p += n;
    }
    return o;
}

START_TEST(test_schema)
{
    size_t length;
    char  *text = schema_text(&length);
    cJSON *root;

    MUST(json_parse(text, length, "schema", &root));
    const cJSON *top = at(root, "$defs/whole/properties");
    ck_assert_ptr_nonnull(top);
    for (int i = 0; i < PART_COUNT; i++) { /* every general key is there, with its help */
        if (*recipe_parts[i].path)
            continue;
        for (int j = 0; j < recipe_parts[i].table->n; j++) {
            const cJSON *o = at(top, recipe_parts[i].table->keys[j].name);
            ck_assert_ptr_nonnull(o);
            ck_assert_ptr_nonnull(at(o, "description"));
        }
    }
    ck_assert(cJSON_IsFalse(at(root, "$defs/whole/additionalProperties")));
    const cJSON *lora = at(top, "modules/items/anyOf/0");
    ck_assert_str_eq(at(lora, "properties/method/const")->valuestring, "lora");
    ck_assert_str_eq(at(lora, "required/0")->valuestring, "method");
    ck_assert(at(lora, "properties/rank/maximum")->valuedouble == 65536);
    ck_assert(at(lora, "properties/rank/default")->valuedouble == 8);
    ck_assert_str_eq(at(lora, "properties/bias/enum/2")->valuestring, "lora_only");
    ck_assert(at(lora, "properties/rank_pattern/additionalProperties/minimum")->valuedouble == 1);
    ck_assert(cJSON_IsFalse(at(lora, "additionalProperties")));
    ck_assert_ptr_nonnull(at(lora, "properties/copies"));
    ck_assert_str_eq(at(top, "optim/anyOf/0/properties/average/default")->valuestring, "none");
    ck_assert_str_eq(at(top, "train/properties/scores/anyOf/0/enum/1")->valuestring, "chrf");
    ck_assert_str_eq(at(top, "train/properties/scores/anyOf/1/items/enum/2")->valuestring, "rouge");
    ck_assert_ptr_null(at(root, "$defs/over/properties/modules/items/anyOf/0/required"));
    cJSON_Delete(root);
    free(text);
}
END_TEST

START_TEST(test_methods)
{
    char  *text = NULL;
    size_t length;
    FILE  *f = open_memstream(&text, &length);

    MUST(methods_print(&fake_registry, NULL, f));
    MUST(methods_print(&fake_registry, "lora", f));
    MUST(methods_print(&fake_registry, "optim", f));
    MUST_FAIL(methods_print(&fake_registry, "lroa", f), "there is no 'lroa'; did you mean 'lora'?");
    fclose(f);
    ck_assert_ptr_nonnull(strstr(text, "Methods (modules: method)\n  lora "));
    ck_assert_ptr_nonnull(strstr(text, "  single "));
    ck_assert_ptr_nonnull(strstr(text, "a whole number in 1..65536; default 8\n"));
    ck_assert_ptr_nonnull(strstr(text, "must be given\n"));
    ck_assert_ptr_nonnull(strstr(text, "  average "));
    free(text);
}
END_TEST

TESTS(recipe_schema, test_schema, test_methods)
