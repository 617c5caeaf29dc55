/* rotate on the device: see rotate.c */
#include "autograd/ops/columns.cuh"

/* z[n, c(b,j)] = sum_k x[n, c(b,k)] r[b][k,j], or r[b][j,k] when back; added unless fresh */
template <class T> static void turn(const op_args *a, const tensor *x, bool back, T *z, bool fresh)
{
    typedef wide<T> W;
    const int64_t   C = x->s.d[1], h = a->in[1]->s.d[1], step = a->attr->rotate.blocks == 1 ? 0 : h * h;
    const int32_t  *channels = op_values_of<int32_t>(a->in[2]);
    const W        *r = op_values<W>(a->in[1]) + a->attr->rotate.first * h * h;
    const T        *v = op_values<T>(x);

    over_values(a, x, [=] __device__(int64_t i) {
        const int64_t n = i / C, p = i % C, b = p / h, j = p % h;
        const W      *m = r + b * step;
        W             sum = 0;
        for (int64_t k = 0; k < h; k++) {
            const int64_t c = channels ? channels[b * h + k] : b * h + k;
            sum += load(v + n * C + c) * (back ? m[j * h + k] : m[k * h + j]);
        }
        give(z + n * C + (channels ? channels[p] : p), sum, fresh);
    });
}

template <class T> static void forward(const op_args *a)
{
    turn<T>(a, a->in[0], false, op_values<T>(a->out[0]), true);
}

template <class T> static void backward(const op_args *a)
{
    typedef wide<T> W;
    const int64_t   C = a->gout[0]->s.d[1], h = a->in[1]->s.d[1], all = C / h, used = a->attr->rotate.blocks;
    const int32_t  *channels = op_values_of<int32_t>(a->in[2]);

    if (a->gin[0])
        turn<T>(a, a->gout[0], true, op_values<T>(a->gin[0]), a->fresh[0]);
    if (a->gin[1]) {
        const T *x = op_values<T>(a->in[0]), *dy = op_values<T>(a->gout[0]);
        add_columns(op_count(a, a->gout[0]), used * h * h,
                    op_values<W>(a->gin[1]) + a->attr->rotate.first * h * h,
                    [=] __device__(int64_t n, int64_t i) -> W {
                        const int64_t k = i / h % h, j = i % h;
                        W             sum = 0;
                        for (int64_t b = i / (h * h); b < all; b += used) {
                            const int64_t from = channels ? channels[b * h + k] : b * h + k;
                            const int64_t to = channels ? channels[b * h + j] : b * h + j;
                            sum += load(x + n * C + from) * load(dy + n * C + to);
                        }
                        return sum;
                    });
    }
}

OP_CUDA(rotate, IN0)
