/* cublaslt: a stand-in for the products of cuBLASLt: d = alpha op(a) op(b) + beta c + bias, column-major */
#include "core/cuda/dialect.cuh"
#include "core/cuda/emu/stream.h"

#include <cublasLt.h>

#include <vector>

struct emu_lt {
    int unused;
};
struct emu_lt_matmul {
    cublasComputeType_t compute;
    cublasOperation_t   ta, tb;
    cublasLtEpilogue_t  epilogue;
    const void         *bias;
    cudaDataType_t      bias_type;
};
struct emu_lt_layout {
    cudaDataType_t type;
    uint64_t       rows, columns;
    int64_t        ld;
};
struct emu_lt_preference {
    size_t   workspace;
    uint32_t align[4]; /* of a, b, c, d */
};

namespace {

template <class S> S load(const void *p, cudaDataType_t type, int64_t i)
{
    if (type == CUDA_R_64F)
        return (S)((const double *)p)[i];
    if (type == CUDA_R_32F)
        return (S)((const float *)p)[i];
    return (S)__bfloat162float(((const __nv_bfloat16 *)p)[i]);
}

template <class S> void store(void *p, cudaDataType_t type, int64_t i, S value)
{
    if (type == CUDA_R_64F)
        ((double *)p)[i] = (double)value;
    else if (type == CUDA_R_32F)
        ((float *)p)[i] = (float)value;
    else
        ((__nv_bfloat16 *)p)[i] = __float2bfloat16((float)value);
}

/* op(x) as rows of k values */
template <class S>
std::vector<S> rows_of(const void *p, const emu_lt_layout &l, bool along, int64_t n, int64_t k)
{
    std::vector<S> out((size_t)(n * k));

    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < k; j++)
            out[(size_t)(i * k + j)] = load<S>(p, l.type, along ? i * l.ld + j : j * l.ld + i);
    return out;
}

/* In lanes that are joined as a tree: a sum of K products has the rounding of K / LANES + log2(LANES). */
template <class S> S dot(const S *a, const S *b, int64_t k)
{
    constexpr int LANES = 64;
    S             sum[LANES] = {0};
    int64_t       i = 0;

    for (; i + LANES <= k; i += LANES)
        for (int l = 0; l < LANES; l++)
            sum[l] += a[i + l] * b[i + l];
    for (int l = 0; i < k; i++, l++)
        sum[l] += a[i] * b[i];
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int l = 0; l < half; l++)
            sum[l] += sum[l + half];
    return sum[0];
}

template <class S>
void multiply(const emu_lt_matmul &m, S alpha, const void *a, const emu_lt_layout &la, const void *b,
              const emu_lt_layout &lb, S beta, const void *c, const emu_lt_layout &lc, void *d,
              const emu_lt_layout &ld)
{
    const int64_t  rows = (int64_t)ld.rows, columns = (int64_t)ld.columns;
    const int64_t  k = (int64_t)(m.ta == CUBLAS_OP_T ? la.rows : la.columns);
    std::vector<S> x = rows_of<S>(a, la, m.ta == CUBLAS_OP_T, rows, k);
    std::vector<S> y = rows_of<S>(b, lb, m.tb == CUBLAS_OP_N, columns, k);

    for (int64_t j = 0; j < columns; j++)
        for (int64_t i = 0; i < rows; i++) {
            S sum = alpha * dot(&x[(size_t)(i * k)], &y[(size_t)(j * k)], k);
            if (beta != 0)
                sum += beta * load<S>(c, lc.type, j * lc.ld + i);
            if (m.epilogue == CUBLASLT_EPILOGUE_BIAS)
                sum += load<S>(m.bias, m.bias_type, i);
            store<S>(d, ld.type, j * ld.ld + i, sum);
        }
}

} // namespace

extern "C" {

cublasStatus_t cublasLtCreate(cublasLtHandle_t *handle)
{
    *handle = new emu_lt();
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle)
{
    delete handle;
    return CUBLAS_STATUS_SUCCESS;
}

size_t cublasLtGetVersion(void)
{
    return 0;
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *desc, cublasComputeType_t compute, cudaDataType_t scale)
{
    (void)scale;
    *desc = new emu_lt_matmul{compute, CUBLAS_OP_N, CUBLAS_OP_N, CUBLASLT_EPILOGUE_DEFAULT, nullptr, CUDA_R_32F};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t desc)
{
    delete desc;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t desc, cublasLtMatmulDescAttributes_t attribute,
                                              const void *value, size_t bytes)
{
    switch (attribute) {
    case CUBLASLT_MATMUL_DESC_TRANSA: memcpy(&desc->ta, value, bytes); break;
    case CUBLASLT_MATMUL_DESC_TRANSB: memcpy(&desc->tb, value, bytes); break;
    case CUBLASLT_MATMUL_DESC_EPILOGUE: memcpy(&desc->epilogue, value, bytes); break;
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER: memcpy(&desc->bias, value, bytes); break;
    case CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE: memcpy(&desc->bias_type, value, bytes); break;
    }
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *layout, cudaDataType type, uint64_t rows,
                                          uint64_t columns, int64_t ld)
{
    if (ld < (int64_t)rows)
        return CUBLAS_STATUS_INVALID_VALUE;
    *layout = new emu_lt_layout{type, rows, columns, ld};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout)
{
    delete layout;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *preference)
{
    *preference = new emu_lt_preference{0, {256, 256, 256, 256}};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference)
{
    delete preference;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attribute, const void *value,
                                                    size_t bytes)
{
    if (attribute == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES)
        memcpy(&preference->workspace, value, bytes);
    else
        memcpy(&preference->align[attribute - CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES], value, bytes);
    return CUBLAS_STATUS_SUCCESS;
}

/* The sizes must fit together, as the library demands. */
cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t m,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int wanted,
                                              cublasLtMatmulHeuristicResult_t *results, int *found)
{
    const bool     ta = m->ta == CUBLAS_OP_T, tb = m->tb == CUBLAS_OP_T;
    const uint64_t rows = ta ? a->columns : a->rows, ka = ta ? a->rows : a->columns;
    const uint64_t columns = tb ? b->rows : b->columns, kb = tb ? b->columns : b->rows;

    (void)handle;
    *found = 0;
    if (rows != d->rows || columns != d->columns || ka != kb || c->rows != d->rows || c->columns != d->columns ||
        c->type != d->type || wanted < 1)
        return CUBLAS_STATUS_INVALID_VALUE;
    if ((m->compute == CUBLAS_COMPUTE_64F) != (a->type == CUDA_R_64F) || a->type != b->type)
        return CUBLAS_STATUS_NOT_SUPPORTED;
    results[0] = cublasLtMatmulHeuristicResult_t();
    memcpy(results[0].algo.data, preference->align, sizeof preference->align);
    *found = 1;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc, const void *alpha, const void *a,
                              cublasLtMatrixLayout_t la, const void *b, cublasLtMatrixLayout_t lb, const void *beta,
                              const void *c, cublasLtMatrixLayout_t lc, void *d, cublasLtMatrixLayout_t ld,
                              const cublasLtMatmulAlgo_t *algo, void *workspace, size_t workspace_bytes,
                              cudaStream_t stream)
{
    const emu_lt_matmul m = *desc;
    const emu_lt_layout va = *la, vb = *lb, vc = *lc, vd = *ld;
    cudaError_t         done;

    (void)handle, (void)workspace, (void)workspace_bytes, (void)stream;
    uint32_t align[4];
    memcpy(align, algo->data, sizeof align);
    if ((uintptr_t)a % align[0] || (uintptr_t)b % align[1] || (uintptr_t)c % align[2] || (uintptr_t)d % align[3])
        return CUBLAS_STATUS_INVALID_VALUE; /* the algorithm was chosen for better aligned matrices */
    if (m.compute == CUBLAS_COMPUTE_64F) {
        const double x = *(const double *)alpha, y = *(const double *)beta;
        done = emu::submit_work("launch", [=] { multiply<double>(m, x, a, va, b, vb, y, c, vc, d, vd); });
    } else {
        const float x = *(const float *)alpha, y = *(const float *)beta;
        done = emu::submit_work("launch", [=] { multiply<float>(m, x, a, va, b, vb, y, c, vc, d, vd); });
    }
    return done == cudaSuccess ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_EXECUTION_FAILED;
}

} // extern "C"
