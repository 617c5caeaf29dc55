/* dump: JSON lines of token ids */
#include "recipes/dump.h"

#include "core/file.h"

static void put_ints(file_writer *w, const char *name, const int32_t *v, int32_t n)
{
    if (!v)
        return;
    file_printf(w, ", \"%s\": [", name);
    for (int32_t i = 0; i < n; i++)
        file_printf(w, i ? ", %d" : "%d", v[i]);
    file_printf(w, "]");
}

static void put_example(file_writer *w, int64_t number, int64_t step, const example *e, int32_t width)
{
    file_printf(w, "{\"batch\": %lld, \"step\": %lld", (long long)number, (long long)step);
    put_ints(w, "ids", e->ids, e->n);
    put_ints(w, "labels", e->labels, e->n);
    put_ints(w, "types", e->types, e->n);
    put_ints(w, "ends", e->ends, e->n_texts);
    put_ints(w, "source", e->source, e->n_source);
    put_ints(w, "span", e->window ? e->span : NULL, 2);
    if (e->label >= 0)
        file_printf(w, ", \"label\": %d", e->label);
    for (int32_t i = 0; e->values && i < width; i++)
        file_printf(w, "%s%.9g%s", i ? ", " : ", \"values\": [", (double)e->values[i], i + 1 == width ? "]" : "");
    file_printf(w, "}\n");
}

status dump_batches(arena *a, const char *path, const examples *x, const pack_options *o,
                    int64_t steps)
{
    packer      p;
    pack_step   plan;
    file_writer w;
    int64_t     number = 0;

    TRY(packer_open(a, x, o, &p));
    TRY(file_writer_open(&w, path));
    for (int64_t step = 0; step < steps; step++) {
        packer_step(&p, &plan);
        for (int leaf = 0; leaf < plan.n_leaves; leaf++, number++)
            for (int32_t i = plan.first[leaf]; i < plan.first[leaf + 1]; i++)
                put_example(&w, number, step, &x->v[plan.samples[i].example], x->width);
    }
    return file_writer_close(&w, true);
}

status dump_examples(const char *path, const examples *x)
{
    file_writer w;

    TRY(file_writer_open(&w, path));
    for (int64_t i = 0; i < x->n; i++)
        put_example(&w, i, 0, &x->v[i], x->width);
    return file_writer_close(&w, true);
}
