/* tokenizer_json: what the two files that read tokenizer.json share. Internal to data/. */
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

/* The parts around the model; each may be a Sequence, `depth` deep. The post-processor is read when
 * the vocabulary stands. */
status json_read_normalizer(json_reader *r, const cJSON *o, int depth);
status json_read_pretokenizer(json_reader *r, const cJSON *o, int depth);
status json_read_postprocessor(json_reader *r, const cJSON *o, int depth);
status json_read_decoder(json_reader *r, const cJSON *o, int depth);
#endif
