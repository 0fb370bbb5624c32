/* One algorithm for every kernel, included once per instruction set and element type.
 *
 * Before inclusion: REAL, INT (signed, same size), TABLE and SOLVER (types of rae_kernels.h), K(name) (adds the
 * suffix), TANH(name) (a constant of tanh.h), SQRT, MASK_LOAD and MASK_STORE (of a part of a vector; undefined where
 * there are none), VECTOR_BYTES, TILE_ROWS and PANEL (rows, and vectors across, of a tile of a product:
 * product_body.h). Vectors are the GCC/Clang vector extension, of the width of the instruction set's registers: wider
 * ones would be emulated
 * (measured 16x slower).
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

/* First n < LANES elements; the others are 0, and not looked at. */
INLINE VEC K(load_part)(const REAL *p, size_t n)
{
#ifdef MASK_LOAD
    return (VEC)MASK_LOAD(p, n);
#else
    REAL lanes[LANES] = {0};
    for (size_t i = 0; i < n; ++i)
        lanes[i] = p[i];
    return K(load)(lanes);
#endif
}

INLINE void K(store_part)(REAL *p, VEC v, size_t n)
{
#ifdef MASK_STORE
    MASK_STORE(p, n, v);
#else
    REAL lanes[LANES];
    K(store)(lanes, v);
    for (size_t i = 0; i < n; ++i)
        p[i] = lanes[i];
#endif
}

/* Lanes of a (0 to LANES - 1) and b (from LANES on), chosen by `which`. */
INLINE VEC K(shuffle)(VEC a, VEC b, IVEC which)
{
#if defined(__clang__)
    VEC v = a;
    for (size_t l = 0; l < LANES; ++l)
        v[l] = which[l] < (INT)LANES ? a[which[l]] : b[which[l] - (INT)LANES];
    return v;
#else
    return __builtin_shuffle(a, b, which);
#endif
}

static const INT K(numbers)[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

/* 0, 1, 2, ...: loaded and computed with, for gcc puts together at run time what is written lane by lane. */
INLINE IVEC K(lane_numbers)(void)
{
    IVEC numbers;
    memcpy(&numbers, K(numbers), sizeof numbers);
    return numbers;
}

/* The lanes exchanged with those `distance` (a power of 2) away. */
INLINE VEC K(exchanged)(VEC v, size_t distance)
{
    return K(shuffle)(v, v, K(lane_numbers)() ^ (INT)distance);
}

INLINE REAL K(lane_sum)(VEC v)
{
    for (size_t half = LANES / 2; half > 0; half /= 2)
        v += K(exchanged)(v, half);
    return v[0];
}

/* The largest lane; NaN if there is one. */
INLINE REAL K(lane_max)(VEC v)
{
    for (size_t half = LANES / 2; half > 0; half /= 2) {
        const VEC other = K(exchanged)(v, half);
        v = K(select)((IVEC)(other > v) | (IVEC)(other != other), other, v);
    }
    return v[0];
}

/* Whether every lane of a comparison is true. */
INLINE int K(all_lanes)(IVEC mask)
{
    for (size_t half = LANES / 2; half > 0; half /= 2)
        mask &= (IVEC)K(exchanged)((VEC)mask, half);
    return mask[0] != 0;
}

/* ---- copies ---------------------------------------------------------------------------------- */

INLINE void K(copy_row)(size_t n, const REAL *x, REAL *y)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        K(store)(y + i, K(load)(x + i));
    if (i < n)
        K(store_part)(y + i, K(load_part)(x + i, n - i), n - i);
}

static void K(copy_rows)(size_t rows, size_t n, const REAL *x, size_t ldx, REAL *y, size_t ldy)
{
    for (size_t r = 0; r < rows; ++r)
        K(copy_row)(n, x + r * ldx, y + r * ldy);
}

static void K(gather)(size_t rows, size_t n, const REAL *x, const size_t *row, REAL *y, size_t ldy)
{
    for (size_t r = 0; r < rows; ++r)
        K(copy_row)(n, x + row[r] * n, y + r * ldy);
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

static void K(tanh_backward)(size_t n, const REAL *h, REAL *d)
{
    for (size_t i = 0; i < n; ++i)
        d[i] *= 1 - h[i] * h[i];
}

/* Rows whose squares are added up in the element type before they go into a double. */
enum { K(LOSS_ROWS) = 16 };

static double K(residual)(size_t rows, size_t n, const REAL *w, const REAL *c, const REAL *z, size_t ldz,
                          REAL u, REAL *g, size_t ldg)
{
    const size_t whole = n / LANES * LANES, tail = n - whole;
    double loss = 0;
    VEC squares = {0};
    for (size_t r = 0; r < rows; ++r, z += ldz, g += ldg) {
        if (w[r] == 0) {
            for (size_t i = 0; i < n; ++i)
                g[i] = 0;
            continue;
        }
        const REAL twice = 2 * w[r] * u;
        VEC row = {0};
        for (size_t i = 0; i < whole; i += LANES) {
            const VEC d = (K(load)(g + i) + K(load)(c + i) - K(load)(z + i)) * u;
            row += d * d;
            K(store)(g + i, d * twice);
        }
        if (tail) {
            const VEC d = (K(load_part)(g + whole, tail) + K(load_part)(c + whole, tail)
                           - K(load_part)(z + whole, tail)) * u;
            row += d * d;
            K(store_part)(g + whole, d * twice, tail);
        }
        squares += w[r] * row;
        if (r % K(LOSS_ROWS) == K(LOSS_ROWS) - 1) {
            loss += K(lane_sum)(squares);
            squares = (VEC){0};
        }
    }
    return loss + K(lane_sum)(squares);
}

/* One row: g = w (softmax(g + c) - x); returns sum exp(g + c - top), and adds w x o (g + c - top) to *likely. */
INLINE REAL K(softmax_row)(size_t n, REAL w, const REAL *c, const REAL *x, REAL *g, VEC *likely)
{
    const size_t whole = n / LANES * LANES, tail = n - whole;
    const VEC lowest = K(splat)(-(REAL)INFINITY);
    const IVEC there = (IVEC)(K(lane_numbers)() < K(isplat)((INT)tail));
    VEC highest = lowest;
    for (size_t i = 0; i < whole; i += LANES) {
        const VEC v = K(load)(g + i) + K(load)(c + i);
        highest = K(select)((IVEC)(v > highest) | (IVEC)(v != v), v, highest);
        K(store)(g + i, v);
    }
    VEC last = {0};
    if (tail) {
        last = K(select)(there, K(load_part)(g + whole, tail) + K(load_part)(c + whole, tail), lowest);
        highest = K(select)((IVEC)(last > highest) | (IVEC)(last != last), last, highest);
    }
    const REAL top = K(lane_max)(highest);
    VEC sums = {0}, likelies = {0};
    for (size_t i = 0; i < whole; i += LANES) {
        const VEC v = K(load)(g + i) - top, e = K(exp_vec)(v);
        likelies += K(load)(x + i) * v;
        sums += e;
        K(store)(g + i, e);
    }
    VEC last_x = {0};
    if (tail) {
        last = K(select)(there, last - top, (VEC){0});
        last_x = K(load_part)(x + whole, tail);
        likelies += last_x * last;
        last = K(select)(there, K(exp_vec)(last), (VEC){0});
        sums += last;
    }
    const REAL total = K(lane_sum)(sums), share = 1 / total;
    for (size_t i = 0; i < whole; i += LANES)
        K(store)(g + i, w * (K(load)(g + i) * share - K(load)(x + i)));
    if (tail)
        K(store_part)(g + whole, w * (last * share - last_x), tail);
    *likely += w * likelies;
    return total;
}

/* Sums over lanes and logarithms wait for a handful of rows: per row they would cost more than all the rest. */
static double K(cross_entropy)(size_t rows, size_t n, const REAL *w, const REAL *c, const REAL *x, size_t ldx,
                               REAL *g, size_t ldg)
{
    double loss = 0, total[K(LOSS_ROWS)];
    for (size_t r0 = 0; r0 < rows; r0 += K(LOSS_ROWS)) {
        const size_t some = rows - r0 < K(LOSS_ROWS) ? rows - r0 : K(LOSS_ROWS);
        VEC likely = {0}, surprise = {0};
        for (size_t r = 0; r < K(LOSS_ROWS); ++r)
            total[r] = 1;
        for (size_t r = 0; r < some; ++r) {
            if (w[r0 + r] != 0)
                total[r] = K(softmax_row)(n, w[r0 + r], c, x + (r0 + r) * ldx, g + (r0 + r) * ldg, &likely);
            else
                for (size_t i = 0; i < n; ++i)
                    g[(r0 + r) * ldg + i] = 0;
        }
        for (size_t r = 0; r < K(LOSS_ROWS); ++r)
            total[r] = rae_log(total[r]);
        for (size_t r = 0; r < some; ++r) {
            const REAL *x_r = x + (r0 + r) * ldx;
            if (w[r0 + r] == 0)
                continue;
            VEC mass = {0};
            size_t i = 0;
            for (; i + LANES <= n; i += LANES)
                mass += K(load)(x_r + i);
            if (i < n)
                mass += K(load_part)(x_r + i, n - i);
            surprise += (REAL)(w[r0 + r] * total[r]) * mass;
        }
        loss += K(lane_sum)(surprise - likely);
    }
    return loss;
}

static void K(axpy)(size_t n, REAL a, const REAL *x, REAL *y)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        K(store)(y + i, K(load)(y + i) + a * K(load)(x + i));
    for (; i < n; ++i)
        y[i] += a * x[i];
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

static double K(distance)(size_t n, const REAL *x, const REAL *y)
{
    double sum = 0;
    for (size_t start = 0; start < n; start += 4096) {
        const size_t end = n - start < 4096 ? n : start + 4096;
        VEC squares = {0}, more = {0};
        size_t i = start;
        for (; i + 2 * LANES <= end; i += 2 * LANES) {
            const VEC d = K(load)(x + i) - K(load)(y + i);
            const VEC e = K(load)(x + i + LANES) - K(load)(y + i + LANES);
            squares += d * d;
            more += e * e;
        }
        for (; i < end; i += LANES) {
            const size_t rest = end - i;
            const VEC d = rest < LANES ? K(load_part)(x + i, rest) - K(load_part)(y + i, rest)
                                       : K(load)(x + i) - K(load)(y + i);
            squares += d * d;
        }
        sum += K(lane_sum)(squares + more);
    }
    return sum;
}

static size_t K(first_beyond)(size_t n, REAL limit, const REAL *x)
{
    enum { STRIDE = 256 * LANES };
    const IVEC sign_bit = (IVEC)K(splat)((REAL)-0.0);
    size_t i = 0;
    while (i + LANES <= n) {
        const size_t end = n - i < STRIDE ? i + (n - i) / LANES * LANES : i + STRIDE;
        IVEC within[2] = {K(isplat)(-1), K(isplat)(-1)};
        size_t j = i;
        for (; j + 2 * LANES <= end; j += 2 * LANES)
            for (size_t v = 0; v < 2; ++v)
                within[v] &= (IVEC)((VEC)((IVEC)K(load)(x + j + v * LANES) & ~sign_bit) <= limit);
        if (j < end)
            within[0] &= (IVEC)((VEC)((IVEC)K(load)(x + j) & ~sign_bit) <= limit);
        within[0] &= within[1];
        if (!K(all_lanes)(within[0]))
            break;
        i = end;
    }
    for (; i < n; ++i)
        if (!(x[i] <= limit && -x[i] <= limit))
            return i;
    return n;
}

static int K(rows_within)(size_t rows, size_t n, REAL limit, const REAL *x, size_t ldx)
{
    const IVEC sign_bit = (IVEC)K(splat)((REAL)-0.0);
    IVEC within = K(isplat)(-1);
    for (size_t r = 0; r < rows; ++r, x += ldx) {
        size_t i = 0;
        for (; i + LANES <= n; i += LANES)
            within &= (IVEC)((VEC)((IVEC)K(load)(x + i) & ~sign_bit) <= limit);
        if (i < n)
            within &= (IVEC)((VEC)((IVEC)K(load_part)(x + i, n - i) & ~sign_bit) <= limit);
    }
    return K(all_lanes)(within);
}

/* nv vectors of columns: all rows of a cache line or two at a time. With `partial`, only `tail` lanes of the last. */
INLINE void K(sum_columns)(const int nv, const int partial, size_t rows, size_t tail, const REAL *x, size_t ldx,
                           REAL factor, int accumulate, REAL *out)
{
    VEC sums[2][4] = {{{0}}};
#define OF(p) (partial && v == nv - 1 ? K(load_part)((p) + v * LANES, tail) : K(load)((p) + v * LANES))
    size_t i = 0;
    for (; i + 2 <= rows; i += 2, x += 2 * ldx)
        for (int v = 0; v < nv; ++v) {
            sums[0][v] += OF(x);
            sums[1][v] += OF(x + ldx);
        }
    for (int v = 0; v < nv; ++v) {
        if (i < rows)
            sums[0][v] += OF(x);
        sums[0][v] = (sums[0][v] + sums[1][v]) * factor;
        if (accumulate)
            sums[0][v] += OF(out);
    }
#undef OF
    for (int v = 0; v < nv; ++v) {
        if (partial && v == nv - 1)
            K(store_part)(out + v * LANES, sums[0][v], tail);
        else
            K(store)(out + v * LANES, sums[0][v]);
    }
}

static void K(column_sums)(size_t rows, size_t n, const REAL *x, size_t ldx, REAL factor, int accumulate,
                           REAL *out)
{
    size_t j = 0;
    for (; j + 4 * LANES <= n; j += 4 * LANES)
        K(sum_columns)(4, 0, rows, 0, x + j, ldx, factor, accumulate, out + j);
    if (j + 2 * LANES <= n) {
        K(sum_columns)(2, 0, rows, 0, x + j, ldx, factor, accumulate, out + j);
        j += 2 * LANES;
    }
    if (j + LANES <= n) {
        K(sum_columns)(1, 0, rows, 0, x + j, ldx, factor, accumulate, out + j);
        j += LANES;
    }
    if (j < n)
        K(sum_columns)(1, 1, rows, n - j, x + j, ldx, factor, accumulate, out + j);
}

#include "solvers_body.h"
#include "product_body.h"
#include "steps_body.h"

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
    .copy_rows = K(copy_rows),
    .gather = K(gather),
    .tanh = K(tanh),
    .tanh_backward = K(tanh_backward),
    .residual = K(residual),
    .cross_entropy = K(cross_entropy),
    .axpy = K(axpy),
    .sum_squares = K(sum_squares),
    .distance = K(distance),
    .solvers = K(solvers),
    .first_beyond = K(first_beyond),
    .rows_within = K(rows_within),
    .column_sums = K(column_sums),
    .packed_size = K(packed_size),
    .pack = K(pack),
    .pack_transposed = K(pack_transposed),
    .product = K(product),
    .outer = K(outer),
    .sum_scratch = K(sum_scratch),
    .forward_steps = K(forward_steps),
    .backward_steps = K(backward_steps),
    .peak = K(peak),
    .peak_flops = 2 * K(PEAK_CHAINS) * LANES,
    .lanes = LANES,
};

#undef LANES
#undef VEC
#undef IVEC
#undef INLINE
