/* patches: see the header */
#include "core/patches.h"

#include <string.h>

void patches_cut(const patch_grid *g, const float *pixels, float *out)
{
    const int64_t ph = g->patch_height, pw = g->patch_width;

    for (int64_t y = 0; y < g->height; y += ph)
        for (int64_t x = 0; x < g->width; x += pw)
            for (int64_t c = 0; c < g->channels; c++)
                for (int64_t r = 0; r < ph; r++, out += pw)
                    memcpy(out, pixels + (c * g->height + y + r) * g->width + x, (size_t)pw * sizeof *out);
}
