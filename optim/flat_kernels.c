/* flat_kernels: finding flat buffers and their functions on the current device */
#include "optim/flat_kernels.h"

float *flat_find(const float *buffer)
{
    const device *d = device_current();
    dtype         type = TYPE_F32;
    void         *p = d ? device_find(d, buffer, &type) : NULL;

    CHECK(type == TYPE_F32);
    return p;
}

const flat_kernels *flat_functions(void)
{
    return device_symbol(device_current(), "cambium_flat_kernels");
}
