/* product: cuBLASLt with its algorithms remembered by shape.
 *
 * cuBLASLt is column-major: c^T [n, m] = op(b)^T op(a)^T, so that its first matrix is our b. */
#include "core/cuda/product.h"

#include "core/cuda/state.h"

#include <cublasLt.h>

#include <stdlib.h>
#include <string.h>

enum { WORKSPACE = 32 << 20, PLANS = 1024 };

/* What decides the algorithm; compared as bytes, so it is zeroed before it is filled. */
typedef struct shape_key {
    int64_t m, n, k, lda, ldb, ldc;
    int32_t type, type_c, has_bias;
    int32_t a_turned, b_turned, accumulate;
    uint32_t align_a, align_b, align_c; /* in bytes */
} shape_key;

typedef struct plan {
    shape_key              key;
    bool                   known;
    cublasLtMatmulDesc_t   how;
    cublasLtMatrixLayout_t a, b, c; /* in cuBLASLt's order: a is our b */
    cublasLtMatmulAlgo_t   algorithm;
} plan;

static struct {
    cublasLtHandle_t handle;
    void            *workspace;
    plan             plans[PLANS]; /* by hash, open addressing */
    int              n_plans;
} lt;

static bool check(cublasStatus_t code, const char *what)
{
    const char *why = code == CUBLAS_STATUS_EXECUTION_FAILED ? "execution failed"
                      : code == CUBLAS_STATUS_NOT_SUPPORTED  ? "not supported"
                      : code == CUBLAS_STATUS_INVALID_VALUE  ? "invalid value"
                                                             : "see cublasStatus_t";

    if (code != CUBLAS_STATUS_SUCCESS)
        cuda_fail("%s%s%s: cuBLASLt says %d (%s)", cuda.operation ? cuda.operation : "", cuda.operation ? ": " : "",
                  what, (int)code, why);
    return code == CUBLAS_STATUS_SUCCESS;
}

bool products_open(void)
{
    return check(cublasLtCreate(&lt.handle), "cublasLtCreate") &&
           cuda_check(cudaMalloc(&lt.workspace, WORKSPACE), "cudaMalloc of cuBLASLt's workspace");
}

static void close_plan(plan *p)
{
    if (!p->known)
        return;
    cublasLtMatmulDescDestroy(p->how);
    cublasLtMatrixLayoutDestroy(p->a);
    cublasLtMatrixLayoutDestroy(p->b);
    cublasLtMatrixLayoutDestroy(p->c);
    p->known = false;
}

void products_close(void)
{
    for (int i = 0; i < PLANS; i++)
        close_plan(&lt.plans[i]);
    cublasLtDestroy(lt.handle);
    cudaFree(lt.workspace);
    memset(&lt, 0, sizeof lt);
}

int products_version(void)
{
    return (int)cublasLtGetVersion();
}

static cudaDataType_t data_type(dtype t)
{
    return t == TYPE_F64 ? CUDA_R_64F : t == TYPE_BF16 ? CUDA_R_16BF : CUDA_R_32F;
}

/* ---- plans ---------------------------------------------------------------------------------------------- */

/* The power of two that the address is a multiple of, up to 256. */
static uint32_t alignment(const void *p)
{
    const uintptr_t bits = (uintptr_t)p | 256;

    return (uint32_t)(bits & (~bits + 1));
}

static shape_key key_of(const cuda_product *p)
{
    shape_key k;

    memset(&k, 0, sizeof k);
    k.m = p->m, k.n = p->n, k.k = p->k, k.lda = p->lda, k.ldb = p->ldb, k.ldc = p->ldc;
    k.type = (int32_t)p->type;
    k.type_c = (int32_t)p->type_c;
    k.has_bias = p->bias != NULL;
    k.a_turned = p->a_turned, k.b_turned = p->b_turned, k.accumulate = p->accumulate;
    k.align_a = alignment(p->a), k.align_b = alignment(p->b), k.align_c = alignment(p->c);
    return k;
}

static uint64_t hash_of(const shape_key *k)
{
    const uint8_t *bytes = (const uint8_t *)k;
    uint64_t       h = 0xcbf29ce484222325u;

    for (size_t i = 0; i < sizeof *k; i++)
        h = (h ^ bytes[i]) * 0x100000001b3u;
    return h ^ h >> 29;
}

/* A matrix that lies in rows of ld values, as cuBLASLt sees it: columns of ld values. */
static bool layout(cublasLtMatrixLayout_t *out, dtype type, int64_t rows, int64_t columns, int64_t ld)
{
    return check(cublasLtMatrixLayoutCreate(out, data_type(type), (uint64_t)columns, (uint64_t)rows, ld),
                 "cublasLtMatrixLayoutCreate");
}

static bool set(plan *p, cublasLtMatmulDescAttributes_t which, const void *value, size_t bytes)
{
    return check(cublasLtMatmulDescSetAttribute(p->how, which, value, bytes), "cublasLtMatmulDescSetAttribute");
}

static bool describe(plan *p, const cuda_product *x)
{
    const bool                wide = x->type == TYPE_F64;
    const cublasOperation_t   first = x->b_turned ? CUBLAS_OP_T : CUBLAS_OP_N;
    const cublasOperation_t   second = x->a_turned ? CUBLAS_OP_T : CUBLAS_OP_N;
    const cublasLtEpilogue_t  epilogue = CUBLASLT_EPILOGUE_BIAS;
    const cudaDataType_t      bias = data_type(x->type_c);
    const cublasComputeType_t compute = wide ? CUBLAS_COMPUTE_64F : CUBLAS_COMPUTE_32F;

    return check(cublasLtMatmulDescCreate(&p->how, compute, wide ? CUDA_R_64F : CUDA_R_32F), "cublasLtMatmulDesc") &&
           set(p, CUBLASLT_MATMUL_DESC_TRANSA, &first, sizeof first) &&
           set(p, CUBLASLT_MATMUL_DESC_TRANSB, &second, sizeof second) &&
           (!x->bias || (set(p, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue) &&
                         set(p, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, &bias, sizeof bias) &&
                         set(p, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &x->bias, sizeof x->bias))) &&
           layout(&p->a, x->type, x->b_turned ? x->n : x->k, x->b_turned ? x->k : x->n, x->ldb) &&
           layout(&p->b, x->type, x->a_turned ? x->k : x->m, x->a_turned ? x->m : x->k, x->lda) &&
           layout(&p->c, x->type_c, x->m, x->n, x->ldc);
}

static bool prefer(cublasLtMatmulPreference_t preference, cublasLtMatmulPreferenceAttributes_t which,
                   const void *value, size_t bytes)
{
    return check(cublasLtMatmulPreferenceSetAttribute(preference, which, value, bytes),
                 "cublasLtMatmulPreferenceSetAttribute");
}

static bool choose(plan *p)
{
    cublasLtMatmulPreference_t      preference;
    cublasLtMatmulHeuristicResult_t result = {0};
    const size_t                    workspace = WORKSPACE;
    const shape_key                *k = &p->key;
    int                             found = 0;

    if (!check(cublasLtMatmulPreferenceCreate(&preference), "cublasLtMatmulPreferenceCreate"))
        return false;
    bool good = prefer(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace, sizeof workspace) &&
                prefer(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &k->align_b, sizeof k->align_b) &&
                prefer(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, &k->align_a, sizeof k->align_a) &&
                prefer(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, &k->align_c, sizeof k->align_c) &&
                prefer(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &k->align_c, sizeof k->align_c) &&
                check(cublasLtMatmulAlgoGetHeuristic(lt.handle, p->how, p->a, p->b, p->c, p->c, preference, 1,
                                                     &result, &found),
                      "cublasLtMatmulAlgoGetHeuristic");
    cublasLtMatmulPreferenceDestroy(preference);
    if (good && found > 0) /* the call may succeed with an algorithm that cannot be used */
        good = check(result.state, "cublasLtMatmulAlgoGetHeuristic: its first algorithm");
    else if (good) {
        cuda_fail("cuBLASLt has no algorithm for a product of %lld x %lld x %lld", (long long)p->key.m,
                  (long long)p->key.n, (long long)p->key.k);
        good = false;
    }
    p->algorithm = result.algo;
    return good;
}

static plan *plan_of(const cuda_product *x)
{
    const shape_key key = key_of(x);
    uint64_t        at = hash_of(&key) % PLANS;

    if (lt.n_plans > PLANS / 2) { /* many ragged shapes: begin anew */
        for (int i = 0; i < PLANS; i++)
            close_plan(&lt.plans[i]);
        lt.n_plans = 0;
    }
    for (; lt.plans[at].known; at = (at + 1) % PLANS)
        if (memcmp(&lt.plans[at].key, &key, sizeof key) == 0)
            return &lt.plans[at];
    plan *p = &lt.plans[at];
    memset(p, 0, sizeof *p);
    p->key = key;
    if (!describe(p, x) || !choose(p))
        return NULL;
    p->known = true;
    lt.n_plans++;
    return p;
}

void cuda_multiply(const cuda_product *p)
{
    const float  alpha = (float)p->alpha, beta = p->accumulate ? 1 : 0;
    const double wide_alpha = p->alpha, wide_beta = p->accumulate ? 1 : 0;
    const bool   wide = p->type == TYPE_F64;

    if (p->m == 0 || p->n == 0 || !cuda_begin_launch("cublasLtMatmul"))
        return;
    plan *how = plan_of(p);
    if (!how || (p->bias && !set(how, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &p->bias, sizeof p->bias)))
        return;
    check(cublasLtMatmul(lt.handle, how->how, wide ? (const void *)&wide_alpha : &alpha, p->b, how->a, p->a, how->b,
                         wide ? (const void *)&wide_beta : &beta, p->c, how->c, p->c, how->c, &how->algorithm,
                         lt.workspace, WORKSPACE, cuda.stream),
          "cublasLtMatmul");
}
