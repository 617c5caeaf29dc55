/* op: what an operation file includes.
 *
 * An operation is a shape rule and two kernels:
 *
 *     status op_NAME_shape(const op_args *a, shape *out, int64_t *n_aux);
 *     void   op_NAME_fwd_cpu(const op_args *a);
 *     void   op_NAME_bwd_cpu(const op_args *a);
 *
 * The file is written once in terms of `real` and compiled once per type (f32, f64) and instruction
 * set; the build renames the three symbols for each. Kernels do not fail and do not allocate
 * (threads_scratch is allowed); the shape rule refuses what does not fit. A gradient is added,
 * never assigned; gin[i] is NULL when nobody wants it. Results must not depend on the number of
 * threads. */
#ifndef AUTOGRAD_OP_H
#define AUTOGRAD_OP_H

#include "core/cpu/matmul.h"
#include "core/rng.h"
#include "core/tensor.h"
#include "core/threads.h"

#ifdef OP_VARIANT
#include "op_names.h" /* written by the build: op_x_fwd_cpu -> op_x_fwd_cpu_<variant> */
#endif

#ifdef REAL_IS_F64
typedef double real;
#define REAL_TYPE TYPE_F64
#else
typedef float real;
#define REAL_TYPE TYPE_F32
#endif

enum { OP_IN_MAX = 8, OP_OUT_MAX = 4 };

typedef enum op_code {
#define OP(name, inputs, outputs, rows, flags, ...) OP_##name,
#include "autograd/ops.def"
#undef OP
    OP_COUNT
} op_code;

typedef enum gelu_kind {
    GELU_ERF,  /* x Phi(x) */
    GELU_TANH, /* x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) / 2: gelu_new, gelu_pytorch_tanh */
    GELU_QUICK /* x sigmoid(1.702 x) */
} gelu_kind;

typedef enum routed_form {
    ROUTED_AUTO,     /* by the shapes */
    ROUTED_MASKED,   /* products over all ranks, zeros where they are not chosen */
    ROUTED_GATHERED, /* the chosen ranks alone */
} routed_form;

/* Keys of the second of two attentions with less than this share of all weights do not weigh 1 together. */
#define ATTENTION_SHARE_MIN 1e-12

/* Settings of an operation that are not tensors; the member is named after the operation. */
typedef union op_attr {
    struct {
        double factor;
    } scale, lora, affine; /* lora: y + factor * (x A^T) B^T; also for linear_lora and lora_each.
                               affine: of b */
    struct {
        int64_t  skills; /* of a head */
        uint32_t site;   /* makes the noise of this place its own */
    } skill_weights;
    struct {
        bool beside; /* the blocks of the heads, else one below another */
    } mix_skills;
    struct {
        double      factor;
        routed_form form;
    } lora_routed;
    struct {
        int64_t active;
        bool    in_weight; /* the bias has a part in the gates */
    } route;
    struct {
        bool anew; /* from zero */
    } tally;
    struct {
        double rate;
    } balance;
    struct {
        int64_t k;
        double  temperature; /* but in training, where it is 1 */
    } top_gate;
    struct {
        int64_t tasks;
    } task_gates;
    struct {
        int64_t rank, most; /* the largest rank; experts that a row may have */
    } experts;              /* of lora_gated */
    struct {
        int64_t ranks, in, out; /* sum of the ranks; columns of A, rows of B */
    } stack_factors;
    struct {
        int64_t rows, columns;
    } cut;
    struct {
        int64_t size;
        bool    sine;
    } waves;
    struct {
        int    terms; /* 0: exact */
        double limit; /* 0: none */
    } cayley;
    struct {
        int64_t first, blocks;
    } rotate;
    struct {
        bool orthogonal;
    } householder;
    struct {
        bool turned;
    } orthogonality;
    struct {
        double factor; /* of the products in the loss */
        bool   both;   /* mean of the loss and that of columns */
    } contrast;
    struct {
        double beta, smoothing;
        bool   squared;  /* IPO's loss */
        bool   by_token; /* log-probabilities are means over tokens */
    } preference;
    struct {
        double eps;
        double offset; /* rmsnorm: the weight is offset + w */
    } rmsnorm; /* also for rmsnorm_add and layernorm */
    struct {
        double softcap; /* logits become cap * tanh(logits / cap); 0: they stay */
    } cross_entropy_head;
    struct {
        double temperature, hard, soft; /* factors of the two losses */
    } distillation;
    struct {
        double scale;                /* of cos and sin */
        double theta, factor, length; /* dynamic NTK when factor > 0: frequencies follow the sequence's length */
    } rope_table;
    struct {
        int32_t first; /* key of the table's first row, without a map */
    } replace_rows;
    struct {
        int64_t from, width;
    } columns;
    struct {
        gelu_kind kind;
    } gelu;
    struct {
        int32_t heads, kv_heads; /* a row is heads * D values; kv_heads divides heads */
        bool    causal;
        int32_t window;  /* query at t sees keys t - window + 1 .. t; 0: all */
        double  scale;   /* of q.k */
        double  softcap; /* cap * tanh(s / cap) before the mask; 0: none */
        int32_t reach;   /* with a bias table: distances from here on share the last bucket */
        bool    both;    /* keys behind a query have buckets of their own */
    } attention; /* also for attention_scores and attention_mix */
    struct {
        bool whole; /* the second is not weakened by the keys of the first */
    } attention_join;
    struct {
        double   p;    /* share of values set to zero, the rest is divided by 1 - p */
        uint32_t site; /* makes the mask of this place its own */
    } dropout;
} op_attr;

/* What changes from step to step and is no tensor: set by whoever runs the tape. */
typedef struct op_run {
    uint64_t seed;
    uint32_t step;     /* optimizer step, for randomness */
    bool     training; /* false: dropout passes x through */
    bool     decoding; /* few rows, no gradients: products with weights go at memory speed */
} op_run;

typedef struct op_args {
    int            n_in, n_out;
    const tensor  *in[OP_IN_MAX];   /* NULL: absent */
    const tensor  *out[OP_OUT_MAX]; /* values; of v only where `reads` says so in backward */
    const tensor  *gout[OP_OUT_MAX]; /* upstream gradients; NULL: nothing arrives there */
    tensor        *gin[OP_IN_MAX];   /* gradients to add to; NULL: not wanted */
    bool           wanted[OP_IN_MAX]; /* shape rule: backward may ask for this gradient; forward: it will */
    bool           fresh[OP_IN_MAX];  /* device: gin[i] holds nothing yet and is to be assigned; see op_kernels */
    real          *aux;              /* n_aux values, written by forward */
    int64_t        n_aux;
    const op_attr *attr;
    const op_run  *run;
    ptrdiff_t      there; /* on a device: *run and the tensors' *rows lie there too, so far from here */
} op_args;

/* Matrix product in the type being compiled. */
static inline void op_matmul(const matmul *p)
{
#ifdef REAL_IS_F64
    matmul_run_f64(p);
#else
    matmul_run(p);
#endif
}

#define OP(name, inputs, outputs, rows, flags, ...)                                                \
    status op_##name##_shape(const op_args *a, shape *out, int64_t *n_aux);                        \
    void   op_##name##_fwd_cpu(const op_args *a);                                                  \
    void   op_##name##_bwd_cpu(const op_args *a);
#include "autograd/ops.def"
#undef OP

#endif
