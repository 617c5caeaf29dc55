/* manifest: MANIFEST.json of a checkpoint folder: which files, how large, which SHA-256.
 *
 * The text ends with the line `"manifest_sha256": "<64 digits>"}`, the hash of all bytes before
 * that line, so a changed byte in the manifest itself is noticed too. */
#ifndef RECIPES_MANIFEST_H
#define RECIPES_MANIFEST_H

#include "recipes/checkpoint.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { MANIFEST_FORMAT = 1, MANIFEST_FILES = 10000 };

/* Hashes everything below `folder` and writes <folder>/MANIFEST.json. */
status manifest_write(const char *folder, int64_t step, const checkpoint_facts *facts);

/* Reads <folder>/MANIFEST.json and checks every file against it. */
status manifest_check(arena *a, const char *folder, int64_t *step, checkpoint_facts *facts);

#ifdef __cplusplus
}
#endif
#endif
