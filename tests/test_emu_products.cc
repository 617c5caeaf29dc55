/* the stand-in of cuBLASLt, through core/cuda/product.c, against plain loops; and what the library refuses */
#include "tests/with_emu.h"

#include "core/cuda/product.h"
#include "core/quant.h"

#include <cmath>
#include <cublasLt.h>

/* Values of a type on the device, and what they are worth here. */
struct numbers {
    dtype               type;
    std::vector<double> worth;
    emu_values<char>    bytes;

    numbers(dtype t, size_t n, uint32_t seed) : type(t), worth(n), bytes(n * size_of(t) + 1)
    {
        for (double &x : worth) {
            seed = seed * 1664525 + 1013904223;
            x = to_type((double)(seed >> 8) / (1 << 23) - 1); /* between -1 and 1 */
        }
        std::vector<char> raw(n * size_of(t));
        for (size_t i = 0; i < n; i++)
            put(raw.data(), i, worth[i]);
        cambium_device_plugin()->upload(bytes.there, raw.data(), raw.size());
    }
    static size_t size_of(dtype t)
    {
        return t == TYPE_F64 ? 8 : t == TYPE_F32 ? 4 : 2;
    }
    double to_type(double x) const
    {
        return type == TYPE_F64 ? x : type == TYPE_F32 ? (double)(float)x
                                                       : (double)bf16_to_f32(f32_to_bf16((float)x));
    }
    void put(char *raw, size_t i, double x) const
    {
        const float    f = (float)x;
        const uint16_t b = f32_to_bf16(f);
        const void    *from = type == TYPE_F64 ? (const void *)&x : type == TYPE_F32 ? (const void *)&f : &b;

        memcpy(raw + i * size_of(type), from, size_of(type));
    }
    std::vector<double> back() const
    {
        const std::vector<char> raw = bytes.back();
        std::vector<double>     out(worth.size());

        for (size_t i = 0; i < out.size(); i++) {
            const char *p = raw.data() + i * size_of(type);
            float       f;
            uint16_t    b;
            if (type == TYPE_F64)
                memcpy(&out[i], p, 8);
            else if (type == TYPE_F32)
                memcpy(&f, p, 4), out[i] = (double)f;
            else
                memcpy(&b, p, 2), out[i] = (double)bf16_to_f32(b);
        }
        return out;
    }
};

/* Rows are longer than they need to be, so that mixed-up leading sizes show; what lies between stays. */
static void check_product(dtype type, dtype type_c, bool a_turned, bool b_turned, bool accumulate, bool with_bias)
{
    enum { M = 5, N = 7, K = 19, MORE = 3 };
    const int64_t lda = (a_turned ? M : K) + MORE, ldb = (b_turned ? K : N) + MORE, ldc = N + MORE;
    const numbers a(type, (size_t)(lda * (a_turned ? K : M)), 1), b(type, (size_t)(ldb * (b_turned ? N : K)), 2);
    const numbers c(type_c, (size_t)(ldc * M), 3), bias(type_c, N, 4);
    cuda_product  p = {};

    p.m = M, p.n = N, p.k = K;
    p.a = a.bytes.there, p.type = type, p.lda = lda, p.a_turned = a_turned;
    p.b = b.bytes.there, p.ldb = ldb, p.b_turned = b_turned;
    p.c = c.bytes.there, p.type_c = type_c, p.ldc = ldc;
    p.alpha = 0.5, p.accumulate = accumulate;
    p.bias = with_bias ? bias.bytes.there : nullptr;
    cuda_multiply(&p);

    const std::vector<double> got = c.back();
    /* a sum of K products below 1 and two roundings to c's type, and once more K for its own additions */
    const double unit = type_c == TYPE_F64 ? 0x1p-53 : 0x1p-24, last = type_c == TYPE_BF16 ? 0x1p-8 : unit;
    for (int64_t i = 0; i < M; i++)
        for (int64_t j = 0; j < ldc; j++) {
            const size_t at = (size_t)(i * ldc + j);
            double       want = 0;
            if (j >= N) {
                ck_assert(got[at] == c.worth[at]);
                continue;
            }
            for (int64_t k = 0; k < K; k++)
                want += a.worth[(size_t)(a_turned ? k * lda + i : i * lda + k)] *
                        b.worth[(size_t)(b_turned ? j * ldb + k : k * ldb + j)];
            want = 0.5 * want + (accumulate ? c.worth[at] : 0) + (with_bias ? bias.worth[(size_t)j] : 0);
            ck_assert_msg(fabs(got[at] - want) <= 2 * K * unit + 2 * last * fabs(want),
                          "%s to %s, turned %d %d, accumulate %d, bias %d: c[%d,%d] is %.17g, must be %.17g",
                          dtype_name(type), dtype_name(type_c), a_turned, b_turned, accumulate, with_bias, (int)i,
                          (int)j, got[at], want);
        }
}

START_TEST(products_equal_plain_loops)
{
    static const dtype pairs[][2] = {
        {TYPE_F32, TYPE_F32}, {TYPE_F64, TYPE_F64}, {TYPE_BF16, TYPE_BF16}, {TYPE_BF16, TYPE_F32}};
    emu_device d;

    for (const auto &types : pairs)
        for (int how = 0; how < 16; how++)
            check_product(types[0], types[1], how & 1, how & 2, how & 4, how & 8);
}
END_TEST

START_TEST(a_product_in_a_graph_is_kept)
{
    emu_device    d;
    const numbers a(TYPE_F32, 4, 1), b(TYPE_F32, 4, 2), c(TYPE_F32, 4, 3);
    cuda_product  p = {};

    p.m = p.n = p.k = p.lda = p.ldb = p.ldc = 2, p.alpha = 1, p.accumulate = true;
    p.a = a.bytes.there, p.b = b.bytes.there, p.c = c.bytes.there, p.type = p.type_c = TYPE_F32;
    d.f->graph_begin();
    cuda_multiply(&p);
    void *graph = d.f->graph_end();
    ck_assert(c.back() == c.worth);
    d.f->graph_run(graph);
    d.f->graph_run(graph);
    const std::vector<double> got = c.back();
    for (size_t i = 0; i < 4; i++) {
        const double once = a.worth[i / 2 * 2] * b.worth[i % 2] + a.worth[i / 2 * 2 + 1] * b.worth[i % 2 + 2];
        ck_assert(fabs(got[i] - c.worth[i] - 2 * once) < 16 * 0x1p-24);
    }
    d.f->graph_close(graph);
}
END_TEST

/* ---- what the library refuses ------------------------------------------------------------------------------ */

struct library {
    cublasLtHandle_t           handle;
    cublasLtMatmulDesc_t       how;
    cublasLtMatrixLayout_t     a, b, c;
    cublasLtMatmulPreference_t preference;

    library(cudaDataType type_a, cudaDataType type_b, cublasComputeType_t compute, uint64_t k_of_b)
    {
        cublasLtCreate(&handle);
        cublasLtMatmulDescCreate(&how, compute, CUDA_R_32F);
        cublasLtMatrixLayoutCreate(&a, type_a, 4, 8, 4);
        cublasLtMatrixLayoutCreate(&b, type_b, k_of_b, 4, (int64_t)k_of_b);
        cublasLtMatrixLayoutCreate(&c, CUDA_R_32F, 4, 4, 4);
        cublasLtMatmulPreferenceCreate(&preference);
    }
    ~library()
    {
        cublasLtMatmulPreferenceDestroy(preference);
        cublasLtMatrixLayoutDestroy(a);
        cublasLtMatrixLayoutDestroy(b);
        cublasLtMatrixLayoutDestroy(c);
        cublasLtMatmulDescDestroy(how);
        cublasLtDestroy(handle);
    }
    cublasStatus_t choose(cublasLtMatmulHeuristicResult_t *result)
    {
        int found = 0;
        return cublasLtMatmulAlgoGetHeuristic(handle, how, a, b, c, c, preference, 1, result, &found);
    }
};

START_TEST(an_algorithm_wants_the_alignment_it_was_chosen_for)
{
    emu_device                      d;
    library                         lt(CUDA_R_32F, CUDA_R_32F, CUBLAS_COMPUTE_32F, 8);
    cublasLtMatmulHeuristicResult_t result;
    emu_values<float>               a(33), b(33), c(17);
    const float                     one = 1, zero = 0;
    const uint32_t                  four = 4;
    const auto multiply = [&](const float *x, const float *y, float *z) {
        return cublasLtMatmul(lt.handle, lt.how, &one, x, lt.a, y, lt.b, &zero, z, lt.c, z, lt.c, &result.algo,
                              nullptr, 0, nullptr);
    };

    ck_assert_int_eq(lt.choose(&result), CUBLAS_STATUS_SUCCESS); /* of itself: 256 bytes */
    ck_assert_int_eq(multiply(a.there, b.there, c.there), CUBLAS_STATUS_SUCCESS);
    ck_assert_int_eq(multiply(a.there + 1, b.there, c.there), CUBLAS_STATUS_INVALID_VALUE);
    ck_assert_int_eq(multiply(a.there, b.there + 1, c.there), CUBLAS_STATUS_INVALID_VALUE);
    ck_assert_int_eq(multiply(a.there, b.there, c.there + 1), CUBLAS_STATUS_INVALID_VALUE);
    cublasLtMatmulPreferenceSetAttribute(lt.preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &four, 4);
    ck_assert_int_eq(lt.choose(&result), CUBLAS_STATUS_SUCCESS);
    ck_assert_int_eq(multiply(a.there + 1, b.there, c.there), CUBLAS_STATUS_SUCCESS);
}
END_TEST

START_TEST(what_does_not_fit_together_is_refused)
{
    cublasLtMatmulHeuristicResult_t result;
    cublasLtMatrixLayout_t          short_rows;

    ck_assert_int_eq(library(CUDA_R_32F, CUDA_R_32F, CUBLAS_COMPUTE_32F, 7).choose(&result),
                     CUBLAS_STATUS_INVALID_VALUE);
    ck_assert_int_eq(library(CUDA_R_32F, CUDA_R_16BF, CUBLAS_COMPUTE_32F, 8).choose(&result),
                     CUBLAS_STATUS_NOT_SUPPORTED);
    ck_assert_int_eq(library(CUDA_R_32F, CUDA_R_32F, CUBLAS_COMPUTE_64F, 8).choose(&result),
                     CUBLAS_STATUS_NOT_SUPPORTED);
    ck_assert_int_eq(cublasLtMatrixLayoutCreate(&short_rows, CUDA_R_32F, 4, 8, 3), CUBLAS_STATUS_INVALID_VALUE);
}
END_TEST

TESTS(emu_products, products_equal_plain_loops, a_product_in_a_graph_is_kept,
      an_algorithm_wants_the_alignment_it_was_chosen_for, what_does_not_fit_together_is_refused)
