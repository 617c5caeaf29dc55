/* with_adamw: options by the rows of the optimizer's table */
#include "tests/with_adamw.h"

#include <string.h>

static void set(adamw_options *o, const optimizer *kind, const char *name, const void *value, size_t n)
{
    for (int i = 0; i < kind->keys->n; i++)
        if (strcmp(kind->keys->keys[i].name, name) == 0)
            memcpy((char *)o->bytes + kind->keys->keys[i].offset, value, n);
}

status adamw_set(adamw_options *o, double lr, double eps, double weight_decay, const optimizer **kind)
{
    static const char *const betas[] = {"0.9", "0.999"};
    static const key_texts   list = {2, betas};

    TRY(optim_find("adamw", kind));
    CHECK((*kind)->keys->size <= sizeof o->bytes);
    memset(o, 0, sizeof *o);
    set(o, *kind, "lr", &lr, sizeof lr);
    set(o, *kind, "eps", &eps, sizeof eps);
    set(o, *kind, "weight_decay", &weight_decay, sizeof weight_decay);
    set(o, *kind, "betas", &list, sizeof list);
    return STATUS_OK;
}
