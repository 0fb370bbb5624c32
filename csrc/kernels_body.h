/* One algorithm for every kernel, included once per instruction set and element type.
 *
 * Before inclusion: REAL, INT (signed, same size), TABLE (its type), K(name) (adds the suffix),
 * TANH(name) (a constant of tanh.h), SQRT, VECTOR_BYTES and MAX_TILE (vectors across a tile of a product:
 * 4 rows of them, their operands and a factor must fit the registers). Vectors are the GCC/Clang vector extension, of the width of the instruction
 * set's registers: wider ones would be emulated (measured 16x slower, DESIGN 5).
 */

#define LANES (VECTOR_BYTES / sizeof(REAL))
#define VEC K(vec)
#define IVEC K(ivec)
#define INLINE static inline __attribute__((always_inline))

typedef REAL VEC __attribute__((vector_size(VECTOR_BYTES)));
typedef INT IVEC __attribute__((vector_size(VECTOR_BYTES)));
typedef REAL K(mem) __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(REAL)), may_alias));

INLINE VEC K(load)(const REAL *p) { return *(const K(mem) *)p; }
INLINE void K(store)(REAL *p, VEC v) { *(K(mem) *)p = v; }
INLINE VEC K(splat)(REAL x) { return x - (VEC){0}; }
INLINE IVEC K(isplat)(INT x) { return x - (IVEC){0}; }

INLINE VEC K(select)(IVEC mask, VEC yes, VEC no)
{
    return (VEC)((mask & (IVEC)yes) | (~mask & (IVEC)no));
}

/* First n < LANES elements; the others are 0. */
INLINE VEC K(load_part)(const REAL *p, size_t n)
{
    REAL lanes[LANES] = {0};
    for (size_t i = 0; i < n; ++i)
        lanes[i] = p[i];
    return K(load)(lanes);
}

INLINE void K(store_part)(REAL *p, VEC v, size_t n)
{
    REAL lanes[LANES];
    K(store)(lanes, v);
    for (size_t i = 0; i < n; ++i)
        p[i] = lanes[i];
}

INLINE double K(lane_sum)(VEC v)
{
    double sum = 0;
    for (size_t i = 0; i < LANES; ++i)
        sum += v[i];
    return sum;
}

/* ---- tanh ------------------------------------------------------------------------------------ */

/* e^x = scale * p with scale = 2^k and p = e^r, |r| <= ln(2) / 2. Adding MAGIC rounds x / ln 2 to the
 * integer k, which the low bits of the sum then hold. */
INLINE VEC K(exp_parts)(VEC x, VEC *scale)
{
    const VEC shifted = x * TANH(LOG2_E) + TANH(MAGIC);
    const VEC k = shifted - TANH(MAGIC);
    const VEC r = x - k * TANH(LN2_HI) - k * TANH(LN2_LO);
    const IVEC power = (IVEC)shifted - (IVEC)K(splat)(TANH(MAGIC)) + TANH(BIAS);
    *scale = (VEC)(power << TANH(MANTISSA_BITS));
    return r * r * TANH(EXP_TAIL)(r) + r + (REAL)1;
}

/* e^x for x <= 0; what is smaller than the smallest normal number becomes about that. NaN stays NaN. */
INLINE VEC K(exp_vec)(VEC x)
{
    VEC scale;
    x = K(select)((IVEC)(x < TANH(EXP_LOW)), K(splat)(TANH(EXP_LOW)), x);
    const VEC p = K(exp_parts)(x, &scale);
    return scale * p;
}

/* Coefficients and pieces: csrc/fit_tanh.py. tanh.h defines them for both types. Both pieces are
 * computed as base + numerator / denominator, so one division serves both. */
INLINE VEC K(tanh_vec)(VEC x)
{
    const IVEC sign_bit = (IVEC)K(splat)((REAL)-0.0);
    const IVEC sign = (IVEC)x & sign_bit;
    VEC a = (VEC)((IVEC)x & ~sign_bit);
    /* Beyond LIMIT the large piece gives exactly 1; NaN fails the comparison and passes. */
    a = K(select)((IVEC)(a > TANH(LIMIT)), K(splat)(TANH(LIMIT)), a);

    VEC scale;
    const VEC p = K(exp_parts)(a + a, &scale);
    const VEC e1 = scale * p + (REAL)1;

    const VEC z = a * a;
    const IVEC small = (IVEC)(a < (REAL)0.625);
    const VEC numerator = K(select)(small, a * z * TANH(SMALL_P)(z), K(splat)((REAL)-2));
    const VEC denominator = K(select)(small, TANH(SMALL_Q)(z), e1);
    const VEC base = K(select)(small, a, K(splat)((REAL)1));
    return (VEC)((IVEC)(base + numerator / denominator) | sign);
}

static void K(tanh)(size_t n, const REAL *x, REAL *y)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        K(store)(y + i, K(tanh_vec)(K(load)(x + i)));
    if (i < n)
        K(store_part)(y + i, K(tanh_vec)(K(load_part)(x + i, n - i)), n - i);
}

/* ---- elementwise ------------------------------------------------------------------------------ */

static void K(tanh_backward)(size_t rows, size_t n, const REAL *h, const REAL *g_next, size_t ld_g,
                             REAL *d)
{
    if (!g_next) { /* one long row */
        n *= rows;
        rows = n > 0;
    }
    for (size_t r = 0; r < rows; ++r) {
        const REAL *h_r = h + r * n, *g_r = g_next ? g_next + r * ld_g : NULL;
        REAL *d_r = d + r * n;
        size_t i = 0;
        for (; i + LANES <= n; i += LANES) {
            const VEC h_i = K(load)(h_r + i);
            const VEC d_i = g_r ? K(load)(d_r + i) - K(load)(g_r + i) : K(load)(d_r + i);
            K(store)(d_r + i, d_i * ((REAL)1 - h_i * h_i));
        }
        for (; i < n; ++i)
            d_r[i] = (g_r ? d_r[i] - g_r[i] : d_r[i]) * (1 - h_r[i] * h_r[i]);
    }
}

/* One row: g = 2 w (g + c - z); returns |g + c - z|^2. */
INLINE double K(residual_row)(size_t n, REAL w, const REAL *c, const REAL *z, REAL *g)
{
    const REAL twice = 2 * w;
    VEC squares = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        const VEC d = K(load)(g + i) + K(load)(c + i) - K(load)(z + i);
        squares += d * d;
        K(store)(g + i, d * twice);
    }
    double rest = 0;
    for (; i < n; ++i) {
        const REAL d = g[i] + c[i] - z[i];
        rest += d * d;
        g[i] = d * twice;
    }
    return K(lane_sum)(squares) + rest;
}

static double K(residual)(size_t rows, size_t n, const REAL *w, const REAL *c, const REAL *z, size_t ldz,
                          REAL *g, size_t ldg)
{
    double loss = 0;
    for (size_t r = 0; r < rows; ++r, z += ldz, g += ldg) {
        if (w[r] != 0)
            loss += w[r] * K(residual_row)(n, w[r], c, z, g);
        else
            for (size_t i = 0; i < n; ++i)
                g[i] = 0;
    }
    return loss;
}

/* One row: g = w (softmax(g + c) - x); returns x . (log sum exp(g + c) - (g + c)). */
INLINE double K(cross_entropy_row)(size_t n, REAL w, const REAL *c, const REAL *x, REAL *g)
{
    REAL top = g[0] + c[0];
    for (size_t i = 0; i < n; ++i) {
        g[i] += c[i];
        top = g[i] > top || g[i] != g[i] ? g[i] : top;
    }
    double likely = 0, mass = 0, total = 0;
    VEC sums = {0};
    for (size_t i = 0; i < n; ++i) {
        g[i] -= top;
        likely += (double)x[i] * g[i];
        mass += x[i];
    }
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        const VEC e = K(exp_vec)(K(load)(g + i));
        sums += e;
        K(store)(g + i, e);
    }
    if (i < n) {
        K(store_part)(g + i, K(exp_vec)(K(load_part)(g + i, n - i)), n - i);
        for (; i < n; ++i)
            total += g[i];
    }
    total += K(lane_sum)(sums);
    const REAL share = (REAL)(1 / total);
    for (i = 0; i < n; ++i)
        g[i] = w * (g[i] * share - x[i]);
    return mass * log(total) - likely;
}

static double K(cross_entropy)(size_t rows, size_t n, const REAL *w, const REAL *c, const REAL *x, size_t ldx,
                               REAL *g, size_t ldg)
{
    double loss = 0;
    for (size_t r = 0; r < rows; ++r, x += ldx, g += ldg) {
        if (w[r] != 0)
            loss += w[r] * K(cross_entropy_row)(n, w[r], c, x, g);
        else
            for (size_t i = 0; i < n; ++i)
                g[i] = 0;
    }
    return loss;
}

static void K(sgd_update)(size_t n, REAL rate, const REAL *grad, REAL *theta)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        K(store)(theta + i, K(load)(theta + i) - rate * K(load)(grad + i));
    for (; i < n; ++i)
        theta[i] -= rate * grad[i];
}

static double K(sum_squares)(size_t n, const REAL *x)
{
    double sum = 0;
    for (size_t start = 0; start < n; start += 4096) {
        const size_t end = n - start < 4096 ? n : start + 4096;
        VEC squares = {0};
        size_t i = start;
        for (; i + LANES <= end; i += LANES)
            squares += K(load)(x + i) * K(load)(x + i);
        sum += K(lane_sum)(squares);
        for (; i < end; ++i)
            sum += (double)x[i] * x[i];
    }
    return sum;
}

/* The solvers' loops are plain: the compiler vectorises them, square roots included. */
static void K(momentum_update)(size_t n, REAL rate, REAL mu, int nesterov, const REAL *restrict grad,
                               REAL *restrict velocity, REAL *restrict theta)
{
    if (nesterov)
        for (size_t i = 0; i < n; ++i) {
            velocity[i] = mu * velocity[i] - rate * grad[i];
            theta[i] += mu * velocity[i] - rate * grad[i];
        }
    else
        for (size_t i = 0; i < n; ++i) {
            velocity[i] = mu * velocity[i] - rate * grad[i];
            theta[i] += velocity[i];
        }
}

static void K(rmsprop_update)(size_t n, REAL rate, REAL rho, REAL epsilon, const REAL *restrict grad,
                              REAL *restrict square, REAL *restrict theta)
{
    for (size_t i = 0; i < n; ++i) {
        square[i] = rho * square[i] + (1 - rho) * (grad[i] * grad[i]);
        theta[i] -= rate * grad[i] / (SQRT(square[i]) + epsilon);
    }
}

static void K(adadelta_update)(size_t n, REAL rate, REAL rho, REAL epsilon, const REAL *restrict grad,
                               REAL *restrict square, REAL *restrict moved, REAL *restrict theta)
{
    for (size_t i = 0; i < n; ++i) {
        square[i] = rho * square[i] + (1 - rho) * (grad[i] * grad[i]);
        const REAL step = SQRT((moved[i] + epsilon) / (square[i] + epsilon)) * grad[i];
        moved[i] = rho * moved[i] + (1 - rho) * (step * step);
        theta[i] -= rate * step;
    }
}

static void K(adam_update)(size_t n, REAL rate, REAL beta_1, REAL beta_2, REAL root_bias, REAL epsilon,
                           const REAL *restrict grad, REAL *restrict mean, REAL *restrict square,
                           REAL *restrict theta)
{
    for (size_t i = 0; i < n; ++i) {
        mean[i] = beta_1 * mean[i] + (1 - beta_1) * grad[i];
        square[i] = beta_2 * square[i] + (1 - beta_2) * (grad[i] * grad[i]);
        theta[i] -= rate * mean[i] / (SQRT(square[i]) / root_bias + epsilon);
    }
}

static void K(rprop_update)(size_t n, const REAL *restrict grad, REAL *restrict previous,
                            REAL *restrict step, REAL *restrict theta)
{
    for (size_t i = 0; i < n; ++i) {
        const REAL turn = grad[i] * previous[i];
        REAL g = grad[i], size = step[i];
        size *= turn > 0 ? (REAL)1.2 : turn < 0 ? (REAL)0.5 : 1;
        size = size > 50 ? 50 : size < (REAL)1e-6 ? (REAL)1e-6 : size;
        g = turn < 0 ? 0 : g;
        step[i] = size;
        previous[i] = g;
        theta[i] -= g > 0 ? size : g < 0 ? -size : 0;
    }
}

static size_t K(first_beyond)(size_t n, REAL limit, const REAL *x)
{
    enum { STRIDE = 4 * LANES };
    const IVEC sign_bit = (IVEC)K(splat)((REAL)-0.0);
    size_t i = 0;
    for (; i + STRIDE <= n; i += STRIDE) {
        IVEC within = K(isplat)(-1);
        for (size_t v = 0; v < STRIDE; v += LANES)
            within &= (IVEC)((VEC)((IVEC)K(load)(x + i + v) & ~sign_bit) <= limit);
        INT all = -1;
        for (size_t l = 0; l < LANES; ++l)
            all &= within[l];
        if (!all)
            break;
    }
    for (; i < n; ++i)
        if (!(x[i] <= limit && -x[i] <= limit))
            return i;
    return n;
}

static void K(column_sums)(size_t rows, size_t n, const REAL *x, size_t ldx, int accumulate, REAL *out)
{
    size_t j = 0;
    for (; j + LANES <= n; j += LANES) {
        VEC sum = accumulate ? K(load)(out + j) : (VEC){0};
        for (size_t i = 0; i < rows; ++i)
            sum += K(load)(x + i * ldx + j);
        K(store)(out + j, sum);
    }
    for (; j < n; ++j) {
        REAL sum = accumulate ? out[j] : 0;
        for (size_t i = 0; i < rows; ++i)
            sum += x[i * ldx + j];
        out[j] = sum;
    }
}

static void K(transpose)(size_t m, size_t n, const REAL *x, size_t ldx, REAL *y, size_t ldy)
{
    /* Square blocks: both sides then touch whole cache lines. */
    enum { BLOCK = 8 };
    for (size_t i = 0; i < m; i += BLOCK)
        for (size_t j = 0; j < n; j += BLOCK) {
            const size_t i_end = i + BLOCK < m ? i + BLOCK : m;
            const size_t j_end = j + BLOCK < n ? j + BLOCK : n;
            for (size_t jj = j; jj < j_end; ++jj)
                for (size_t ii = i; ii < i_end; ++ii)
                    y[jj * ldy + ii] = x[ii * ldx + jj];
        }
}

/* ---- small matrix products -------------------------------------------------------------------- */

/* tile_body.h once per width: a matrix is cut into stripes of full vectors, and the columns left
 * over into narrower vectors, down to single columns. */
#define WIDTH VECTOR_BYTES
#define T(name) K(name##_full)
#include "tile_body.h"
#undef WIDTH
#undef T
#if VECTOR_BYTES > 32
#define WIDTH 32
#define T(name) K(name##_32)
#include "tile_body.h"
#undef WIDTH
#undef T
#endif
#if VECTOR_BYTES > 16
#define WIDTH 16
#define T(name) K(name##_16)
#include "tile_body.h"
#undef WIDTH
#undef T
#endif

static void K(columns)(size_t m, size_t n, size_t k, const REAL *a, size_t a_row, size_t a_col,
                       const REAL *b, size_t ldb, int accumulate, REAL *c, size_t ldc)
{
    for (size_t i = 0; i < m; ++i)
        for (size_t j = 0; j < n; ++j) {
            REAL sum = accumulate ? c[i * ldc + j] : 0;
            for (size_t p = 0; p < k; ++p)
                sum += a[i * a_row + p * a_col] * b[p * ldb + j];
            c[i * ldc + j] = sum;
        }
}

static void K(small_gemm)(size_t m, size_t n, size_t k, const REAL *a, size_t a_row, size_t a_col,
                          const REAL *b, size_t ldb, int accumulate, REAL *c, size_t ldc)
{
    size_t j = 0;
#define STRIPE(T, nv, width)                                                                       \
    {                                                                                              \
        T(nv, m, k, a, a_row, a_col, b + j, ldb, accumulate, c + j, ldc);                          \
        j += nv * (width) / sizeof(REAL);                                                          \
    }
    while (j + MAX_TILE * LANES <= n)
        STRIPE(K(stripe_full), MAX_TILE, VECTOR_BYTES)
#if MAX_TILE > 3
    if (j + 3 * LANES <= n)
        STRIPE(K(stripe_full), 3, VECTOR_BYTES)
#endif
#if MAX_TILE > 2
    if (j + 2 * LANES <= n)
        STRIPE(K(stripe_full), 2, VECTOR_BYTES)
#endif
    if (j + LANES <= n)
        STRIPE(K(stripe_full), 1, VECTOR_BYTES)
#if VECTOR_BYTES > 32
    if (j + 32 / sizeof(REAL) <= n)
        STRIPE(K(stripe_32), 1, 32)
#endif
#if VECTOR_BYTES > 16
    if (j + 16 / sizeof(REAL) <= n)
        STRIPE(K(stripe_16), 1, 16)
#endif
#undef STRIPE
    if (j < n)
        K(columns)(m, n - j, k, a, a_row, a_col, b + j, ldb, accumulate, c + j, ldc);
}

/* ---- the multiply-add peak, for benchmarks ---------------------------------------------------- */

enum { K(PEAK_CHAINS) = 12 }; /* more than latency (4) x units (2); fits 16 registers */

static double K(peak)(size_t rounds)
{
    VEC s[K(PEAK_CHAINS)];
    const VEC x = K(splat)((REAL)0.999), y = K(splat)((REAL)0.001);
    for (int i = 0; i < K(PEAK_CHAINS); ++i)
        s[i] = K(splat)((REAL)i);
    for (size_t r = 0; r < rounds; ++r)
        for (int i = 0; i < K(PEAK_CHAINS); ++i)
            s[i] = s[i] * x + y;
    for (int i = 1; i < K(PEAK_CHAINS); ++i)
        s[0] += s[i];
    return K(lane_sum)(s[0]);
}

static const TABLE K(table) = {
    .tanh = K(tanh),
    .tanh_backward = K(tanh_backward),
    .residual = K(residual),
    .cross_entropy = K(cross_entropy),
    .sgd_update = K(sgd_update),
    .sum_squares = K(sum_squares),
    .momentum_update = K(momentum_update),
    .rmsprop_update = K(rmsprop_update),
    .adadelta_update = K(adadelta_update),
    .adam_update = K(adam_update),
    .rprop_update = K(rprop_update),
    .first_beyond = K(first_beyond),
    .column_sums = K(column_sums),
    .transpose = K(transpose),
    .small_gemm = K(small_gemm),
    .peak = K(peak),
    .peak_flops = 2 * K(PEAK_CHAINS) * LANES,
};

#undef LANES
#undef VEC
#undef IVEC
#undef INLINE
