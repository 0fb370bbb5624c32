/* The C kernels of rae_fast: what BLAS does not do, or does too slowly at small sizes.
 *
 * Plain C11, no Python.h. Every kernel exists for float and double and for each instruction set
 * that the build knows (base, and on x86-64 avx2 = AVX2 + FMA, avx512 = AVX-512 F + DQ); a table of
 * function pointers per instruction set is all a caller sees. NumPy twins: rae_fast/reference.py
 * and tests/test_kernels.py.
 *
 * For all kernels: arrays need only the alignment of their element type; sizes may be 0; no kernel
 * reads or writes past the extents given; arrays overlap only where a kernel says so; nothing is
 * allocated and no errno is set. Matrices are row-major, ld* is the distance between two rows.
 */
#ifndef RAE_KERNELS_H
#define RAE_KERNELS_H

#include <stddef.h>

#define RAE_DECLARE_TABLE(T, NAME)                                                                 \
    typedef struct {                                                                               \
        /* y[i] = tanh(x[i]), x == y allowed. |error| <= 2 ULP; exactly +-1 where tanh rounds to   \
         * it; NaN stays NaN, -0.0 stays -0.0. An element's result never depends on its place. */  \
        void (*tanh)(size_t n, const T *x, T *y);                                                  \
                                                                                                   \
        /* d = (d - g_next) * (1 - h^2) for rows of n numbers: what flows into h, less the pull on  \
         * h as the next step's target, times the derivative of tanh from its value. g_next NULL:  \
         * nothing is subtracted. ld_g is the row distance of g_next; h and d are contiguous. */   \
        void (*tanh_backward)(size_t rows, size_t n, const T *h, const T *g_next, size_t ld_g,     \
                              T *d);                                                               \
                                                                                                   \
        /* Rows of n numbers: the reconstruction g + c minus its target z. On entry g holds the     \
         * product that makes it; on return g = 2 w[r] (g + c - z), the gradient. Returns          \
         * sum_r w[r] |g + c - z|^2. Where w[r] is 0 the row's z is not looked at and g becomes 0. */\
        double (*residual)(size_t rows, size_t n, const T *w, const T *c, const T *z, size_t ldz,  \
                           T *g, size_t ldg);                                                      \
                                                                                                   \
        /* The same for cross-entropy, n >= 1: g = w[r] (softmax(g + c) - x) for rows x that sum to \
         * 1; returns sum_r w[r] x . (log sum exp(g + c) - (g + c)), without overflow. */          \
        double (*cross_entropy)(size_t rows, size_t n, const T *w, const T *c, const T *x,         \
                                size_t ldx, T *g, size_t ldg);                                     \
                                                                                                   \
        /* theta[i] -= rate * grad[i] */                                                           \
        void (*sgd_update)(size_t n, T rate, const T *grad, T *theta);                             \
                                                                                                   \
        /* sum_i x[i]^2 */                                                                         \
        double (*sum_squares)(size_t n, const T *x);                                               \
                                                                                                   \
        /* One update of theta by a solver of rae_fast/solvers.py, which has the formulas; grad,   \
         * state and theta must not overlap. */                                                    \
        void (*momentum_update)(size_t n, T rate, T mu, int nesterov, const T *grad, T *velocity,  \
                                T *theta);                                                         \
        void (*rmsprop_update)(size_t n, T rate, T rho, T epsilon, const T *grad, T *square,       \
                               T *theta);                                                          \
        void (*adadelta_update)(size_t n, T rate, T rho, T epsilon, const T *grad, T *square,      \
                                T *moved, T *theta);                                               \
        void (*adam_update)(size_t n, T rate, T beta_1, T beta_2, T root_bias, T epsilon,          \
                            const T *grad, T *mean, T *square, T *theta);                          \
        void (*rprop_update)(size_t n, const T *grad, T *previous, T *step, T *theta);             \
                                                                                                   \
        /* First i with !(|x[i]| <= limit), NaN included; n if there is none. */                   \
        size_t (*first_beyond)(size_t n, T limit, const T *x);                                     \
                                                                                                   \
        /* out[j] = sum_i x[i, j] (accumulate: out[j] += ...), x (rows, n). */                     \
        void (*column_sums)(size_t rows, size_t n, const T *x, size_t ldx, int accumulate, T *out);\
                                                                                                   \
        /* y (n, m) = transpose of x (m, n) */                                                     \
        void (*transpose)(size_t m, size_t n, const T *x, size_t ldx, T *y, size_t ldy);           \
                                                                                                   \
        /* c (m, n) = a b (accumulate: c += a b) with b (k, n) row-major and element (i, p) of a   \
         * at a[i * a_row + p * a_col], so that a or its transpose can be passed. The sum over p   \
         * runs in one fixed order for given shapes. For matrices that stay in the L1/L2 cache. */ \
        void (*small_gemm)(size_t m, size_t n, size_t k, const T *a, size_t a_row, size_t a_col,   \
                           const T *b, size_t ldb, int accumulate, T *c, size_t ldc);              \
                                                                                                   \
        /* Runs rounds * peak_flops floating-point operations as independent multiply-adds. The    \
         * return value only keeps the compiler from dropping them. */                             \
        double (*peak)(size_t rounds);                                                             \
        size_t peak_flops;                                                                         \
    } NAME;

RAE_DECLARE_TABLE(float, rae_table_f32)
RAE_DECLARE_TABLE(double, rae_table_f64)

typedef struct {
    const char *name;
    int (*usable)(void);
    const rae_table_f32 *f32;
    const rae_table_f64 *f64;
} rae_isa;

/* The rows of this build, best first; the last one is "base", usable everywhere. */
extern const rae_isa RAE_ISAS[];
extern const size_t RAE_N_ISAS;

/* The row called name, the best usable row for NULL; NULL if there is none or this CPU lacks it. */
const rae_isa *rae_find_isa(const char *name);

#endif
