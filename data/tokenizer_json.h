/* tokenizer_json: what the files that read tokenizer.json share. Internal to data/. */
#ifndef DATA_TOKENIZER_JSON_H
#define DATA_TOKENIZER_JSON_H

#include "core/json.h"
#include "data/tokenizer_parts.h"

typedef struct json_reader {
    arena *a;
    tokenizer *t;
    const char *what; /* the file's path */
    const cJSON *root;
} json_reader;

/* The member, NULL when it is absent or null. */
const cJSON *json_member(const cJSON *o, const char *key);

/* Fails for a key that is not among the names in `known` ("type,pattern,"), every one with a comma.
 */
status json_known_keys(const json_reader *r, const cJSON *o, const char *part, const char *known);

/* One kind of normaliser, pre-tokenizer, post-processor or decoder. */
typedef struct part_kind {
    const char *type, *keys;
    status (*read)(json_reader *r, const cJSON *o, int depth);
} part_kind;

/* Reads a part of one of the kinds; messages call it `part`. */
status json_read_part(json_reader *r, const cJSON *o, const char *part, const part_kind *kinds,
                      int n, int depth);

/* Reads the parts of a Sequence one by one. */
status json_read_list(json_reader *r, const cJSON *o, const char *key, int depth,
                      status (*read)(json_reader *r, const cJSON *o, int depth));

/* Texts that live as long as the tokenizer: an item's, a member's that must be there; a member of
 * one character; a member `pattern`. part: who has it, for messages. */
status json_kept(json_reader *r, const cJSON *item, const char **text, size_t *n);
status json_kept_member(json_reader *r, const cJSON *o, const char *key, const char *part,
                        const char **text, size_t *n);
status json_character(json_reader *r, const cJSON *o, const char *key, const char *part,
                      uint32_t *code);
status json_pattern(json_reader *r, const cJSON *o, const char *part, pcre2_code **out);

/* An added token; seen: of each id, whether an added token had it before (NULL: it may). Beyond the
 * model's own it goes into the vocabulary. */
status json_read_added(json_reader *r, const cJSON *o, int64_t id, bool *seen, added_token *token);

/* added_tokens_decoder of tokenizer_config.json: how many there are and their bytes, and reading
 * them into t->added, which has room for as many. */
size_t config_added_size(const cJSON *config, size_t *bytes);
status config_add_tokens(arena *a, tokenizer *t, const cJSON *config, const char *path);

/* The model with its vocabulary. json_check_model only looks at its kind: what is not known explains
 * all that is odd besides. */
status json_check_model(const json_reader *r);
status json_read_model(json_reader *r, const cJSON *model);

/* The parts around the model; each may be a Sequence, `depth` deep. The post-processor is read when
 * the vocabulary stands. */
status json_read_normalizer(json_reader *r, const cJSON *o, int depth);
status json_read_pretokenizer(json_reader *r, const cJSON *o, int depth);
status json_read_postprocessor(json_reader *r, const cJSON *o, int depth);
status json_prepend_scheme(json_reader *r, const cJSON *o, prepend_scheme *out);
status json_read_decoder(json_reader *r, const cJSON *o, int depth);
#endif
