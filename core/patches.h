/* patches: an image as rows, one a patch, as vision transformers read it (Dosovitskiy et al. 2021) */
#ifndef CORE_PATCHES_H
#define CORE_PATCHES_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Sizes of an image and of a patch, which divides it. */
typedef struct patch_grid {
    int64_t channels, height, width, patch_height, patch_width;
} patch_grid;

/* Patches of an image, values of a patch. */
static inline int64_t patches_count(const patch_grid *g)
{
    return (g->height / g->patch_height) * (g->width / g->patch_width);
}

static inline int64_t patches_values(const patch_grid *g)
{
    return g->channels * g->patch_height * g->patch_width;
}

/* pixels [channels, height, width] -> [patches, values]: patches row by row, within one channel, row, column. */
void patches_cut(const patch_grid *g, const float *pixels, float *out);

#ifdef __cplusplus
}
#endif
#endif
