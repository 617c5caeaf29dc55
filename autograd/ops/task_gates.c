/* task_gates: w[n,e] = 1 in the rows n of the sequences s with the task e, tasks[s] == e, 0 elsewhere */
#include "autograd/ops/kernel.h"

status op_task_gates_shape(const op_args *a, shape *out, int64_t *n_aux)
{
    const tensor *x = a->in[0], *tasks = a->in[1];

    TRY(op_want_matrix("task_gates", "x", x));
    TRY(op_want_ints("task_gates", "tasks", tasks, shape_1(tasks->s.n == 1 ? tasks->s.d[0] : 1)));
    TRY(op_want_ints("task_gates", "offsets", a->in[2], shape_1(tasks->s.d[0] + 1)));
    *out = shape_2(x->s.d[0], a->attr->task_gates.tasks);
    *n_aux = 0;
    return STATUS_OK;
}

void op_task_gates_fwd_cpu(const op_args *a)
{
    const int64_t  E = a->out[0]->s.d[1], S = rows_in_use(a->in[2]) - 1;
    const int32_t *tasks = a->in[1]->v, *offsets = a->in[2]->v;
    real          *w = a->out[0]->v;

    memset(w, 0, (size_t)(rows_in_use(a->out[0]) * E) * sizeof *w);
    for (int64_t s = 0; s < S; s++) {
        CHECK(tasks[s] >= 0 && tasks[s] < E);
        for (int64_t n = offsets[s]; n < offsets[s + 1]; n++)
            w[n * E + tasks[s]] = 1;
    }
}

void op_task_gates_bwd_cpu(const op_args *a)
{
    (void)a;
}
