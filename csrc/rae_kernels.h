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

#include "team.h"

/* The right factor of a product, a matrix of which rows row, row + 1, ... are in use. As it lies:
 * RAE_PANELS   in panels of all its `rows` (product_body.h)
 * RAE_ROWS     row-major with ld elements from row to row, each row readable up to a full vector
 * RAE_BARE     row-major, `columns` elements in a row and none of them to be read beyond
 * RAE_TURNED   the transpose of such a matrix: what is called a row here is a column of b, b has `columns` rows
 * RAE_BARE is for few rows on the left: a product reads it once for each. */
typedef enum { RAE_PANELS, RAE_ROWS, RAE_BARE, RAE_TURNED } rae_layout;

typedef struct {
    rae_layout layout;
    const void *b;
    size_t row, rows;        /* rows: RAE_PANELS only */
    size_t ld, columns;
} rae_operand;

/* An update by a solver; numbers: its own, in the order of rae_fast/solvers.py. */
typedef struct {
    double rate;
    size_t t;                /* the number of the update, from 1 */
    const double *numbers;
} rae_step;

#define RAE_DECLARE_TABLE(T, NAME, SOLVER)                                                         \
    typedef struct {                                                                               \
        const char *name;                                                                          \
        void (*update)(const rae_step *step, size_t n, const T *grad, T *first, T *second, T *theta); \
    } SOLVER;                                                                                      \
                                                                                                   \
    typedef struct {                                                                               \
        /* Rows of n numbers from x (row distance ldx) to y; from rows row[0], row[1], ... of x (row distance n) to y. \
         * x and y must not overlap. */                                                            \
        void (*copy_rows)(size_t rows, size_t n, const T *x, size_t ldx, T *y, size_t ldy);        \
        void (*gather)(size_t rows, size_t n, const T *x, const size_t *row, T *y, size_t ldy);    \
                                                                                                   \
        /* y[i] = tanh(x[i]), x == y allowed. |error| <= 2 ULP; exactly +-1 where tanh rounds to   \
         * it; NaN stays NaN, -0.0 stays -0.0. An element's result never depends on its place. */  \
        void (*tanh)(size_t n, const T *x, T *y);                                                  \
                                                                                                   \
        /* d[i] *= 1 - h[i]^2: back through tanh, from its value. */                               \
        void (*tanh_backward)(size_t n, const T *h, T *d);                                         \
                                                                                                   \
        /* Rows of n numbers: d = (g + c - z) u, the reconstruction g + c minus its target z, in    \
         * some unit 1/u. On entry g holds the product that makes it; on return g = 2 w[r] u d, the \
         * gradient of sum_r w[r] |d|^2, which is returned. Where w[r] is 0 the row's z is not      \
         * looked at and g becomes 0. */                                                           \
        double (*residual)(size_t rows, size_t n, const T *w, const T *c, const T *z, size_t ldz,  \
                           T u, T *g, size_t ldg);                                                 \
                                                                                                   \
        /* The same for cross-entropy, n >= 1: g = w[r] (softmax(g + c) - x) for rows x that sum to \
         * 1; returns sum_r w[r] x . (log sum exp(g + c) - (g + c)), without overflow. */          \
        double (*cross_entropy)(size_t rows, size_t n, const T *w, const T *c, const T *x,         \
                                size_t ldx, T *g, size_t ldg);                                     \
                                                                                                   \
        /* y[i] += a x[i] */                                                                       \
        void (*axpy)(size_t n, T a, const T *x, T *y);                                             \
                                                                                                   \
        /* sum_i x[i]^2 */                                                                         \
        double (*sum_squares)(size_t n, const T *x);                                               \
                                                                                                   \
        /* sum_i (x[i] - y[i])^2 */                                                                \
        double (*distance)(size_t n, const T *x, const T *y);                                      \
                                                                                                   \
        /* Solvers by name; the last has none. */                                                  \
        const SOLVER *solvers;                                                                     \
                                                                                                   \
        /* First i with !(|x[i]| <= limit), NaN included; n if there is none. */                   \
        size_t (*first_beyond)(size_t n, T limit, const T *x);                                     \
                                                                                                   \
        /* Whether |x[r, i]| <= limit for all of x (rows, n), which NaN is not. */                 \
        int (*rows_within)(size_t rows, size_t n, T limit, const T *x, size_t ldx);                \
                                                                                                   \
        /* out[j] = factor sum_i x[i, j] (accumulate: out[j] += ...), x (rows, n). */              \
        void (*column_sums)(size_t rows, size_t n, const T *x, size_t ldx, T factor, int accumulate, \
                            T *out);                                                               \
                                                                                                   \
        /* Matrix products: product_body.h. Elements of the panels of a matrix (k, n); b (k, n) into them; the \
         * transpose of b (n, k) into them. */                                                     \
        size_t (*packed_size)(size_t k, size_t n);                                                 \
        void (*pack)(size_t k, size_t n, const T *b, size_t ldb, T *out);                          \
        void (*pack_transposed)(size_t k, size_t n, const T *b, size_t ldb, T *out);               \
                                                                                                   \
        /* c (m, n) = init + a b with element (i, p) of a at a[i * a_row + p * a_col]; init has row distance \
         * ld_init (0: one row for all) and may be c itself; NULL is 0. The sum over p of one element of c \
         * depends on the row's place and on n, and on nothing else. RAE_BARE and RAE_TURNED: a_col is 1, and columns \
         * of c beyond those of b are init's, or 0. The columns are shared among the team. */ \
        void (*product)(rae_team *team, size_t m, size_t n, size_t k, const T *a, size_t a_row, size_t a_col, \
                        const rae_operand *b, const T *init, size_t ld_init, T *c, size_t ldc);    \
                                                                                                   \
        /* c (m, n) = factor a' b (accumulate: c += ...) for rows a (k, m) and b (k, n) that are readable up to a full \
         * vector. scratch: sum_scratch(m, n, k) elements for every member of the team, which shares the rows of c. */ \
        void (*outer)(rae_team *team, size_t m, size_t n, size_t k, const T *a, size_t lda, const T *b, \
                      size_t ldb, T factor, int accumulate, T *scratch, T *c, size_t ldc);                   \
        size_t (*sum_scratch)(size_t m, size_t n, size_t k);                                                \
                                                                                                   \
        /* Recurrences over packed rows (steps_body.h): step t has active[t] of them, never more than the step \
         * before it. h and d have row distance ld, a multiple of a vector.                        \
         *                                                                                         \
         * h_t = f(h_{t-1} w + what h_t holds, or bias if that is not NULL), f = tanh or (squash 0) nothing. \
         * before: h_{-1} of the first step; NULL if its product is already in h. */               \
        void (*forward_steps)(rae_team *team, size_t steps, const size_t *active, size_t n, const T *before, \
                              size_t ld_before, const rae_operand *w, const T *bias, int squash, T *h, size_t ld); \
                                                                                                   \
        /* d_t = (what d_t holds + d_{t+1} w - pull_{t+1}) (1 - h_t^2), from the last step to the first; rows: of \
         * all steps. n_next rows d_next and pull_next belong to the step after the last. pull NULL: there is \
         * none. h NULL: no factor. ending: if not NULL, d_t holds nothing yet; row r of ending takes the place of \
         * the sum where r ends with step t, and 0 + d_{t+1} w elsewhere. */                       \
        void (*backward_steps)(rae_team *team, size_t steps, size_t rows, const size_t *active, size_t n_next, \
                               size_t n, const T *d_next, const T *pull_next, size_t ld_pull_next, \
                               const rae_operand *w, const T *ending, const T *pull, size_t ld_pull, const T *h, \
                               T *d, size_t ld);                                                   \
                                                                                                   \
        /* Runs rounds * peak_flops floating-point operations as independent multiply-adds. The    \
         * return value only keeps the compiler from dropping them. */                             \
        double (*peak)(size_t rounds);                                                             \
        size_t peak_flops;                                                                         \
        size_t lanes; /* elements in a vector */                                                   \
    } NAME;

RAE_DECLARE_TABLE(float, rae_table_f32, rae_solver_f32)
RAE_DECLARE_TABLE(double, rae_table_f64, rae_solver_f64)

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
