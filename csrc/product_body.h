/* Matrix products; included by kernels_body.h, once per instruction set and element type.
 *
 * The right factor ("operand") lies either row-major or in panels: PANEL vectors of columns, all rows of a
 * panel one after the other, the last panel only as wide as its columns need and filled up with zeros. A tile
 * of TILE_ROWS rows and up to PANEL vectors of the result stays in registers over the whole sum, so what the
 * instruction set has (registers, 2 multiply-adds a cycle of 4 cycles' latency) decides both numbers.
 */

enum { K(WIDTH) = PANEL * LANES };

/* The partial sums that a tile of v vectors in all is split into, so that 8 to 12 multiply-adds are under way. */
#define CHAINS(v) ((v) >= 8 ? 1 : (v) >= 4 ? 2 : (v) >= 2 ? 4 : 8)

/* s[i][v] = sum_p a(i, p) b[p, v * LANES ...] for mr rows and nv vectors, from what s holds. s has rows for all
 * `chains` partial sums. */
INLINE void K(tile_sum)(const int mr, const int nv, const int chains, size_t k, const REAL *a, size_t a_row,
                        size_t a_col, const REAL *b, size_t ldb, VEC s[][PANEL])
{
    for (int i = mr; i < mr * chains; ++i)
        for (int v = 0; v < nv; ++v)
            s[i][v] = (VEC){0};
    size_t p = 0;
    if (chains > 1)
        for (; p + chains <= k; p += chains)
            for (int q = 0; q < chains; ++q, b += ldb, a += a_col) {
                VEC b_p[PANEL];
                for (int v = 0; v < nv; ++v)
                    b_p[v] = K(load)(b + v * LANES);
                for (int i = 0; i < mr; ++i)
                    for (int v = 0; v < nv; ++v)
                        s[q * mr + i][v] += a[i * a_row] * b_p[v];
                /* Two additions: gcc would rather keep the distance of every load in a register, and has too few. */
                __asm__("" : "+r"(a), "+r"(b));
            }
#define ONE_MORE                                                                                             \
    for (; p < k; ++p, b += ldb, a += a_col) {                                                               \
        VEC b_p[PANEL];                                                                                      \
        for (int v = 0; v < nv; ++v)                                                                         \
            b_p[v] = K(load)(b + v * LANES);                                                                 \
        for (int i = 0; i < mr; ++i)                                                                         \
            for (int v = 0; v < nv; ++v)                                                                     \
                s[i][v] += a[i * a_row] * b_p[v];                                                            \
    }
    if (chains > 1) /* fewer than `chains` */
        ONE_MORE
    else
        /* The loop's own additions compete with the multiply-adds: docs/performance.md, "The tile". */
        _Pragma("GCC unroll 4") ONE_MORE
#undef ONE_MORE
#define FOLD(half)                                                                                           \
    if (chains >= 2 * (half))                                                                                \
        for (int i = 0; i < (half) * mr; ++i)                                                                \
            for (int v = 0; v < nv; ++v)                                                                     \
                s[i][v] += s[i + (half) * mr][v];
    FOLD(4)
    FOLD(2)
    FOLD(1)
#undef FOLD
}

/* c[i, 0 : nv * LANES] = init[i, ...] + sum_p a(i, p) b[p, ...] for mr rows; init NULL for 0. With `partial`, only
 * the first `tail` lanes of the last vector belong to init and c. With `late`, init is added to `factor` times the
 * whole sum: to a large number, many small ones one by one would be lost. */
INLINE void K(tile)(const int mr, const int nv, const int chains, const int partial, int late, REAL factor, size_t k,
                    const REAL *a, size_t a_row, size_t a_col, const REAL *b, size_t ldb, const REAL *init,
                    size_t ld_init, size_t tail, REAL *c, size_t ldc)
{
    VEC s[TILE_ROWS > 8 ? TILE_ROWS : 8][PANEL];
    for (int i = 0; i < mr; ++i)
        for (int v = 0; v < nv; ++v) {
            s[i][v] = (VEC){0};
            if (init && !late)
                s[i][v] = partial && v == nv - 1 ? K(load_part)(init + i * ld_init + v * LANES, tail)
                                                 : K(load)(init + i * ld_init + v * LANES);
        }
    K(tile_sum)(mr, nv, chains, k, a, a_row, a_col, b, ldb, s);
    /* All loads before the first store: a load that overlaps the masked part of a store under way waits for it. */
    if (late)
        for (int i = 0; i < mr; ++i)
            for (int v = 0; v < nv; ++v) {
                s[i][v] *= factor;
                if (init)
                    s[i][v] += partial && v == nv - 1 ? K(load_part)(init + i * ld_init + v * LANES, tail)
                                                      : K(load)(init + i * ld_init + v * LANES);
            }
    for (int i = 0; i < mr; ++i)
        for (int v = 0; v < nv; ++v) {
            if (partial && v == nv - 1)
                K(store_part)(c + i * ldc + v * LANES, s[i][v], tail);
            else
                K(store)(c + i * ldc + v * LANES, s[i][v]);
        }
}

/* All m rows of one panel: tiles of TILE_ROWS rows, then what is left in smaller ones. */
INLINE void K(panel)(const int nv, const int partial, int late, REAL factor, size_t m, size_t k, const REAL *a,
                     size_t a_row, size_t a_col, const REAL *b, size_t ldb, const REAL *init, size_t ld_init,
                     size_t tail, REAL *c, size_t ldc)
{
    size_t i = 0;
#define ROWS(mr)                                                                                             \
    K(tile)(mr, nv, CHAINS(mr * nv), partial, late, factor, k, a + i * a_row, a_row, a_col, b, ldb,                  \
            init ? init + i * ld_init : NULL, ld_init, tail, c + i * ldc, ldc)
    for (; i + TILE_ROWS <= m; i += TILE_ROWS)
        ROWS(TILE_ROWS);
#if TILE_ROWS > 4
    if (i + 4 <= m) {
        ROWS(4);
        i += 4;
    }
#endif
    if (i + 2 <= m) {
        ROWS(2);
        i += 2;
    }
    if (i < m)
        ROWS(1);
#undef ROWS
}

/* A function of its own for every width: in one for all, gcc kept loop counters on the stack. */
#define PANEL_FUNCTION(name, nv, partial)                                                                    \
    static __attribute__((noinline)) void K(name)(                                                           \
        int late, REAL factor, size_t m, size_t k, const REAL *a, size_t a_row, size_t a_col, const REAL *b, \
        size_t ldb, const REAL *init, size_t ld_init, size_t tail, REAL *c, size_t ldc)                      \
    {                                                                                                        \
        K(panel)(nv, partial, late, factor, m, k, a, a_row, a_col, b, ldb, init, ld_init, tail, c, ldc);     \
    }
#if PANEL > 2
PANEL_FUNCTION(panel_3, 3, 0)
PANEL_FUNCTION(panel_3_part, 3, 1)
#endif
PANEL_FUNCTION(panel_2, 2, 0)
PANEL_FUNCTION(panel_2_part, 2, 1)
PANEL_FUNCTION(panel_1, 1, 0)
PANEL_FUNCTION(panel_1_part, 1, 1)
#undef PANEL_FUNCTION

/* Columns [j, n) of one panel that starts at column j, b at its first row. */
INLINE void K(columns)(size_t j, size_t n, int late, REAL factor, size_t m, size_t k, const REAL *a, size_t a_row,
                       size_t a_col, const REAL *b, size_t ldb, const REAL *init, size_t ld_init, REAL *c, size_t ldc)
{
#if PANEL > 2
#define THIRD(name) , K(name)
#else
#define THIRD(name)
#endif
    static void (*const widths[2][3])(int, REAL, size_t, size_t, const REAL *, size_t, size_t, const REAL *, size_t,
                                      const REAL *, size_t, size_t, REAL *, size_t) = {
        {K(panel_1), K(panel_2) THIRD(panel_3)},
        {K(panel_1_part), K(panel_2_part) THIRD(panel_3_part)},
    };
#undef THIRD
    const size_t left = n - j, vectors = left >= K(WIDTH) ? PANEL : (left + LANES - 1) / LANES, tail = left % LANES;
    widths[left < K(WIDTH) && tail][vectors - 1](late, factor, m, k, a, a_row, a_col, b, ldb,
                                                 init ? init + j : NULL, ld_init, tail, c + j, ldc);
}

/* Row length of the packed panel that starts at column j of n. */
INLINE size_t K(width_at)(size_t j, size_t n)
{
    return n - j < K(WIDTH) ? (n - j + LANES - 1) / LANES * LANES : K(WIDTH);
}

/* The panel of an operand of n columns that starts at column j, at the first row in use. */
INLINE const REAL *K(panel_at)(const rae_operand *operand, size_t j, size_t n, size_t *ldb)
{
    const REAL *b = operand->b;
    const int panels = operand->layout == RAE_PANELS;
    *ldb = panels ? K(width_at)(j, n) : operand->ld;
    return (panels ? b + j * operand->rows : b + j) + operand->row * *ldb;
}

/* ---- a row times a matrix as it lies ---------------------------------------------------------------------- */

/* y[j] = init[j] + sum_i a[i] b[i, j] for a few rows of b; `tail` lanes of a last vector besides n whole ones. */
INLINE void K(sweep)(const int rows, size_t n, size_t tail, const REAL *a, const REAL *b, size_t ldb, const REAL *init,
                     REAL *y)
{
    VEC a_i[4];
    for (int i = 0; i < rows; ++i)
        a_i[i] = K(splat)(a[i]);
    for (size_t j = 0; j < n; j += LANES) {
        VEC s = init ? K(load)(init + j) : (VEC){0};
        for (int i = 0; i < rows; ++i)
            s += a_i[i] * K(load)(b + i * ldb + j);
        K(store)(y + j, s);
    }
    if (tail) {
        VEC s = init ? K(load_part)(init + n, tail) : (VEC){0};
        for (int i = 0; i < rows; ++i)
            s += a_i[i] * K(load_part)(b + i * ldb + n, tail);
        K(store_part)(y + n, s, tail);
    }
}

static __attribute__((noinline)) void K(sweep_4)(size_t n, size_t tail, const REAL *a, const REAL *b, size_t ldb,
                                                 const REAL *init, REAL *y)
{
    K(sweep)(4, n, tail, a, b, ldb, init, y);
}

static __attribute__((noinline)) void K(sweep_1)(size_t n, size_t tail, const REAL *a, const REAL *b, size_t ldb,
                                                 const REAL *init, REAL *y)
{
    K(sweep)(1, n, tail, a, b, ldb, init, y);
}

/* Columns [j0, j1) of y = init + a b for a bare b (k, n): four rows of b at a time through all of y, which L1 holds,
 * so that b is read from its start to its end; or, backwards, from its end to its start. The k % 4 rows that are
 * left come first either way. */
static void K(row_times_bare)(size_t j0, size_t j1, int backwards, size_t k, const REAL *a, const REAL *b, size_t ldb,
                              const REAL *init, REAL *y)
{
    const size_t n = (j1 - j0) / LANES * LANES, tail = j1 - j0 - n, fours = k / 4;
    b += j0;
    y += j0;
    init = init ? init + j0 : NULL;
    if (k == 0)
        K(sweep)(0, n, tail, a, b, ldb, init, y);
    for (size_t i = 4 * fours; i < k; ++i, init = y)
        K(sweep_1)(n, tail, a + i, b + i * ldb, ldb, init, y);
    for (size_t q = 0; q < fours; ++q, init = y) {
        const size_t i = 4 * (backwards ? fours - 1 - q : q);
        K(sweep_4)(n, tail, a + i, b + i * ldb, ldb, init, y);
    }
}

/* Lane l: the sum over the lanes of s[l % n], n a power of 2. */
INLINE VEC K(sum_lanes_of)(const size_t n, VEC s[])
{
    /* The rounds of transpose_square, but for the sums of both halves. */
#define ROUND(half)                                                                                          \
    if ((half) < n) {                                                                                        \
        const IVEC lane = K(lane_numbers)();                                                                 \
        const IVEC low = lane + ((IVEC)((lane & (INT)(half)) != 0) & ((INT)LANES - (INT)(half)));            \
        const IVEC high = low + (INT)(half);                                                                 \
        _Pragma("GCC unroll 16") for (size_t r = 0; r < n; r += 2 * (half)) {                                \
            const VEC x = s[r], y = s[(r + (half)) % n];                                                     \
            s[r] = K(shuffle)(x, y, low) + K(shuffle)(x, y, high);                                           \
        }                                                                                                    \
    }
    ROUND(1)
    ROUND(2)
    ROUND(4)
    ROUND(8)
#undef ROUND
    VEC sum = s[0];
    for (size_t half = n; half < LANES; half *= 2)
        sum += K(exchanged)(sum, half);
    return sum;
}

/* Lane r: sum_p a[p] b[r, p] for LANES rows of b; if there are only `rows`, the last one takes the others' places. */
INLINE VEC K(dots)(const int whole, size_t rows, size_t k, const REAL *a, const REAL *b, size_t ldb)
{
#define ROW(r) (b + (whole || (r) < rows ? (r) : rows - 1) * ldb)
    VEC s[CHAINS(LANES)][LANES];
    for (int q = 0; q < (int)CHAINS(LANES); ++q)
        for (size_t r = 0; r < LANES; ++r)
            s[q][r] = (VEC){0};
    size_t p = 0;
    for (; p + CHAINS(LANES) * LANES <= k; p += CHAINS(LANES) * LANES)
        for (int q = 0; q < (int)CHAINS(LANES); ++q) {
            const VEC a_p = K(load)(a + p + q * LANES);
            for (size_t r = 0; r < LANES; ++r)
                s[q][r] += a_p * K(load)(ROW(r) + p + q * LANES);
        }
    for (; p + LANES <= k; p += LANES) {
        const VEC a_p = K(load)(a + p);
        for (size_t r = 0; r < LANES; ++r)
            s[0][r] += a_p * K(load)(ROW(r) + p);
    }
    if (p < k) {
        const VEC a_p = K(load_part)(a + p, k - p);
        for (size_t r = 0; r < LANES; ++r)
            s[0][r] += a_p * K(load_part)(ROW(r) + p, k - p);
    }
#undef ROW
#define FOLD(half)                                                                                           \
    if (CHAINS(LANES) >= 2 * (half))                                                                         \
        for (int q = 0; q < (half); ++q)                                                                     \
            for (size_t r = 0; r < LANES; ++r)                                                               \
                s[q][r] += s[(q + (half)) % CHAINS(LANES)][r];
    FOLD(4)
    FOLD(2)
    FOLD(1)
#undef FOLD
    return K(sum_lanes_of)(LANES, s[0]);
}

static __attribute__((noinline)) VEC K(dots_whole)(size_t k, const REAL *a, const REAL *b, size_t ldb)
{
    return K(dots)(1, LANES, k, a, b, ldb);
}

static __attribute__((noinline)) VEC K(dots_part)(size_t rows, size_t k, const REAL *a, const REAL *b, size_t ldb)
{
    const IVEC there = (IVEC)(K(lane_numbers)() < K(isplat)((INT)rows));
    return K(select)(there, K(dots)(0, rows, k, a, b, ldb), (VEC){0});
}

/* Lanes j, j + 1, ... of a times a turned operand; 0 beyond its columns. a has k elements. */
INLINE VEC K(turned_lanes)(size_t j, size_t k, const REAL *a, const rae_operand *w)
{
    const REAL *b = (const REAL *)w->b + j * w->ld + w->row;
    if (j + LANES <= w->columns)
        return K(dots_whole)(k, a, b, w->ld);
    return j < w->columns ? K(dots_part)(w->columns - j, k, a, b, w->ld) : (VEC){0};
}

/* Several rows at a time: a tile of dot products, as many as a tile of panels has vectors, for DOT_COLUMNS rows of b.
 * They are summed over DOT_SPAN bytes of both factors at once, which L1 holds. */
enum {
    K(DOT_COLUMNS) = LANES < 4 ? LANES : 4,
    K(DOT_ROWS) = TILE_ROWS * PANEL / K(DOT_COLUMNS),
    K(DOT_SPAN) = 3072 / sizeof(REAL),
};

/* Else gcc 12 keeps the sums in memory until the loops that add their lanes are unrolled, and fills that first. */
#define UNROLLED _Pragma("GCC unroll 8")

/* c (mr, columns) = init + a b'; a DOT_COLUMNS columns wide result if `whole`. */
INLINE void K(dots_tile)(const int mr, const int whole, size_t columns, size_t k, const REAL *a, size_t a_row,
                         const REAL *b, size_t ldb, const REAL *init, size_t ld_init, REAL *c, size_t ldc)
{
#define COLUMN(j) (b + (whole || (size_t)(j) < columns ? (size_t)(j) : columns - 1) * ldb)
#define ADD(load)                                                                                            \
    VEC a_p[K(DOT_ROWS)];                                                                                    \
    UNROLLED for (int i = 0; i < mr; ++i)                                                                    \
        a_p[i] = load(a + i * a_row + p);                                                                    \
    UNROLLED for (int j = 0; j < K(DOT_COLUMNS); ++j) {                                                      \
        const VEC b_p = load(COLUMN(j) + p);                                                                 \
        UNROLLED for (int i = 0; i < mr; ++i)                                                                \
            s[i][j] += a_p[i] * b_p;                                                                         \
    }
#define PART(from) K(load_part)(from, k - p)
    VEC s[K(DOT_ROWS)][K(DOT_COLUMNS)];
    UNROLLED for (int i = 0; i < mr; ++i)
        UNROLLED for (int j = 0; j < K(DOT_COLUMNS); ++j)
            s[i][j] = (VEC){0};
    size_t p = 0;
    for (; p + LANES <= k; p += LANES) {
        ADD(K(load))
    }
    if (p < k) {
        ADD(PART)
    }
#undef PART
#undef ADD
#undef COLUMN
    const int full = whole && K(DOT_COLUMNS) == LANES;
    const size_t some = whole ? K(DOT_COLUMNS) : columns;
    UNROLLED for (int i = 0; i < mr; ++i) {
        VEC v = K(sum_lanes_of)(K(DOT_COLUMNS), s[i]);
        if (init)
            v += full ? K(load)(init + i * ld_init) : K(load_part)(init + i * ld_init, some);
        if (full)
            K(store)(c + i * ldc, v);
        else
            K(store_part)(c + i * ldc, v, some);
    }
}

#define TILE_FUNCTION(name, mr, whole)                                                                       \
    static __attribute__((noinline)) void K(name)(size_t columns, size_t k, const REAL *a, size_t a_row,     \
                                                  const REAL *b, size_t ldb, const REAL *init, size_t ld_init, \
                                                  REAL *c, size_t ldc)                                       \
    {                                                                                                        \
        K(dots_tile)(mr, whole, columns, k, a, a_row, b, ldb, init, ld_init, c, ldc);                        \
    }
TILE_FUNCTION(dots_rows, K(DOT_ROWS), 1)
TILE_FUNCTION(dots_row, 1, 1)
TILE_FUNCTION(dots_row_part, 1, 0)
#undef TILE_FUNCTION

/* Columns [j0, end) of a product of several rows with a turned operand. */
static void K(rows_times_turned)(size_t j0, size_t end, size_t m, size_t k, const REAL *a, size_t a_row,
                                 const rae_operand *w, const REAL *init, size_t ld_init, REAL *c, size_t ldc)
{
    size_t p = 0;
    do {
        const size_t some = k - p < K(DOT_SPAN) ? k - p : K(DOT_SPAN);
        for (size_t j = j0; j < end; j += K(DOT_COLUMNS)) {
            const size_t columns = end - j;
            const REAL *b = (const REAL *)w->b + j * w->ld + w->row + p;
            size_t i = 0;
#define ROWS(tile)                                                                                           \
    K(tile)(columns, some, a + i * a_row + p, a_row, b, w->ld, init ? init + i * ld_init + j : NULL, ld_init, \
            c + i * ldc + j, ldc)
            if (columns < K(DOT_COLUMNS))
                for (; i < m; ++i)
                    ROWS(dots_row_part);
            for (; i + K(DOT_ROWS) <= m; i += K(DOT_ROWS))
                ROWS(dots_rows);
            for (; i < m; ++i)
                ROWS(dots_row);
#undef ROWS
        }
        init = c;
        ld_init = ldc;
        p += K(DOT_SPAN);
    } while (p < k);
}

/* Columns [j0, end) of one row with a turned operand. */
static void K(row_times_turned)(size_t j0, size_t end, size_t k, const REAL *a, const rae_operand *w, const REAL *init,
                                REAL *c)
{
    for (size_t j = j0; j < end; j += LANES) {
        const size_t some = end - j < LANES ? end - j : LANES;
        VEC s = K(turned_lanes)(j, k, a, w);
        if (init)
            s += some < LANES ? K(load_part)(init + j, some) : K(load)(init + j);
        if (some < LANES)
            K(store_part)(c + j, s, some);
        else
            K(store)(c + j, s);
    }
}

/* Columns [j0, j1) of a product with an operand as it lies; beyond those it has, init or 0. */
static void K(product_as_it_lies)(size_t j0, size_t j1, int backwards, size_t m, size_t k, const REAL *a, size_t a_row,
                                  const rae_operand *w, const REAL *init, size_t ld_init, REAL *c, size_t ldc)
{
    const size_t end = j1 < w->columns ? j1 : w->columns;
    if (w->layout == RAE_TURNED && m > 1)
        K(rows_times_turned)(j0, end, m, k, a, a_row, w, init, ld_init, c, ldc);
    else if (w->layout == RAE_TURNED && m == 1)
        K(row_times_turned)(j0, end, k, a, w, init, c);
    for (size_t i = 0; i < m; ++i, a += a_row, c += ldc, init = init ? init + ld_init : NULL) {
        if (w->layout == RAE_BARE && j0 < end)
            K(row_times_bare)(j0, end, backwards, k, a, (const REAL *)w->b + w->row * w->ld, w->ld, init, c);
        for (size_t j = j0 > end ? j0 : end; j < j1; ++j)
            c[j] = init ? init[j] : 0;
    }
}

/* ---- products ---------------------------------------------------------------------------------------------- */

/* Columns j0 to j1 (n at most; both multiples of WIDTH, except for n) of a product of n columns; with `backwards` the
 * panels, or the rows of a bare operand, from the last to the first. `late`, factor: not for one as it lies. */
INLINE void K(product_columns)(size_t j0, size_t j1, int backwards, int late, REAL factor, size_t m, size_t n, size_t k,
                               const REAL *a, size_t a_row, size_t a_col, const rae_operand *operand,
                               const REAL *init, size_t ld_init, REAL *c, size_t ldc)
{
    if (operand->layout >= RAE_BARE) {
        K(product_as_it_lies)(j0, j1 < n ? j1 : n, backwards, m, k, a, a_row, operand, init, ld_init, c, ldc);
        return;
    }
    const size_t panels = (j1 - j0 + K(WIDTH) - 1) / K(WIDTH);
    for (size_t i = 0; i < panels; ++i) {
        const size_t j = j0 + (backwards ? panels - 1 - i : i) * K(WIDTH);
        size_t ldb;
        const REAL *b = K(panel_at)(operand, j, n, &ldb);
        K(columns)(j, n, late, factor, m, k, a, a_row, a_col, b, ldb, init, ld_init, c, ldc);
    }
}

typedef struct {
    size_t m, n, k;
    const REAL *a;
    size_t a_row, a_col;
    const rae_operand *b;
    const REAL *init;
    size_t ld_init;
    REAL *c;
    size_t ldc;
} K(product_work);

static void K(product_share)(void *argument, size_t member, size_t members)
{
    const K(product_work) *const x = argument;
    size_t j0, j1;
    rae_share(x->n, K(WIDTH), member, members, &j0, &j1);
    K(product_columns)(j0, j1, 0, 0, 1, x->m, x->n, x->k, x->a, x->a_row, x->a_col, x->b, x->init,
                       x->ld_init, x->c, x->ldc);
}

static void K(product)(rae_team *team, size_t m, size_t n, size_t k, const REAL *a, size_t a_row, size_t a_col,
                       const rae_operand *b, const REAL *init, size_t ld_init, REAL *c, size_t ldc)
{
    K(product_work) work = {m, n, k, a, a_row, a_col, b, init, ld_init, c, ldc};
    rae_together(team, K(product_share), &work);
}

/* ---- operands --------------------------------------------------------------------------------------------- */

/* The LANES x LANES matrix in v becomes its transpose: log2(LANES) rounds of exchanging halves. */
INLINE void K(transpose_square)(VEC v[LANES])
{
#define ROUND(s)                                                                                             \
    if ((s) < LANES) {                                                                                       \
        /* l & s ? (LANES + l - s, LANES + l) : (l, l + s) */                                                \
        const IVEC lane = K(lane_numbers)();                                                                 \
        const IVEC low = lane + ((IVEC)((lane & (INT)(s)) != 0) & ((INT)LANES - (INT)(s)));                  \
        const IVEC high = low + (INT)(s);                                                                    \
        for (size_t i = 0; i < LANES; ++i)                                                                   \
            if (!(i & (s))) {                                                                                \
                const VEC a = v[i], b = v[i | (s)];                                                          \
                v[i] = K(shuffle)(a, b, low);                                                                \
                v[i | (s)] = K(shuffle)(a, b, high);                                                         \
            }                                                                                                \
    }
    ROUND(1)
    ROUND(2)
    ROUND(4)
    ROUND(8)
#undef ROUND
}

static size_t K(packed_size)(size_t k, size_t n)
{
    return k * ((n + LANES - 1) / LANES * LANES);
}

/* b (k, n) into panels, PACK_ROWS rows through all of them at a time: rows that lie pages apart are not walked down
 * once for every panel. */
enum { K(PACK_ROWS) = 8 };

static void K(pack)(size_t k, size_t n, const REAL *b, size_t ldb, REAL *out)
{
    for (size_t p0 = 0; p0 < k; p0 += K(PACK_ROWS)) {
        const size_t rows = k - p0 < K(PACK_ROWS) ? k - p0 : K(PACK_ROWS);
        for (size_t j = 0; j < n; j += K(WIDTH)) {
            const size_t columns = n - j, width = K(width_at)(j, n);
            const REAL *from = b + p0 * ldb + j;
            REAL *to = out + j * k + p0 * width;
            if (columns >= K(WIDTH))
                for (size_t p = 0; p < rows; ++p, from += ldb, to += K(WIDTH))
                    for (size_t l = 0; l < K(WIDTH); l += LANES)
                        K(store)(to + l, K(load)(from + l));
            else
                for (size_t p = 0; p < rows; ++p, from += ldb, to += width)
                    for (size_t l = 0; l < width; l += LANES)
                        K(store)(to + l, columns - l < LANES ? K(load_part)(from + l, columns - l)
                                                             : K(load)(from + l));
        }
    }
}

/* The transpose of one square of b, of `rows` rows and `some` columns; the lanes without a row become 0. */
INLINE void K(pack_square)(size_t rows, size_t some, const REAL *b, size_t ldb, size_t width, REAL *out)
{
    VEC v[LANES];
    for (size_t i = 0; i < LANES; ++i)
        v[i] = i >= rows ? (VEC){0} : some < LANES ? K(load_part)(b + i * ldb, some) : K(load)(b + i * ldb);
    K(transpose_square)(v);
    for (size_t i = 0; i < LANES; ++i)
        if (i < some)
            K(store)(out + i * width, v[i]);
}

/* The transpose of b (n, k) into panels. */
static void K(pack_transposed)(size_t k, size_t n, const REAL *b, size_t ldb, REAL *out)
{
    for (size_t j = 0; j < n; j += K(WIDTH)) {
        const size_t columns = n - j < K(WIDTH) ? n - j : K(WIDTH), width = K(width_at)(j, n);
        for (size_t l = 0; l < columns; l += LANES) {
            const size_t rows = columns - l < LANES ? columns - l : LANES;
            const REAL *from = b + (j + l) * ldb;
            size_t p = 0;
            if (rows == LANES)
                for (; p + LANES <= k; p += LANES)
                    K(pack_square)(LANES, LANES, from + p, ldb, width, out + p * width + l);
            for (; p < k; p += LANES)
                K(pack_square)(rows, k - p < LANES ? k - p : LANES, from + p, ldb, width, out + p * width + l);
        }
        out += k * width;
    }
}

/* ---- sums over rows --------------------------------------------------------------------------------------- */

/* Blocks of a large a' b: SUM_ROWS rows of a panel of b stay in L1, SUM_COLUMNS columns of a in L2. */
enum { K(SUM_ROWS) = RAE_SUM_ROWS, K(SUM_COLUMNS) = RAE_SUM_COLUMNS };

/* Whether both factors of a sum over k rows are copied, piece by piece: docs/performance.md, "Sums over rows". */
INLINE int K(sum_packs)(size_t m, size_t n, size_t k)
{
    return (m + n) * k * sizeof(REAL) > RAE_SUM_PACK;
}

static size_t K(sum_scratch)(size_t m, size_t n, size_t k)
{
    return K(sum_packs)(m, n, k) ? K(SUM_ROWS) * (K(SUM_COLUMNS) + TILE_ROWS + n + LANES) : 0;
}

typedef struct {
    size_t m, n, k;
    const REAL *a;
    size_t lda;
    const REAL *b;
    size_t ldb;
    REAL factor;
    int accumulate;
    REAL *scratch, *c;
    size_t ldc;
} K(outer_work);

static void K(outer_share)(void *argument, size_t member, size_t members)
{
    const K(outer_work) *const x = argument;
    const size_t n = x->n, k = x->k, lda = x->lda, ldc = x->ldc;
    size_t m0, m1;
    rae_share(x->m, TILE_ROWS, member, members, &m0, &m1);
    if (!K(sum_packs)(x->m, n, k)) {
        const rae_operand operand = {.layout = RAE_ROWS, .b = x->b, .ld = x->ldb};
        REAL *c = x->c + m0 * ldc;
        K(product_columns)(0, n, 0, 1, x->factor, m1 - m0, n, k, x->a + m0, 1, lda, &operand,
                           x->accumulate ? c : NULL, ldc, c, ldc);
        return;
    }
    REAL *packed_a = x->scratch + member * K(sum_scratch)(x->m, n, k);
    REAL *packed_b = packed_a + K(SUM_ROWS) * (K(SUM_COLUMNS) + TILE_ROWS);
    for (size_t p = 0; p < k; p += K(SUM_ROWS)) {
        const size_t rows = k - p < K(SUM_ROWS) ? k - p : K(SUM_ROWS);
        K(pack)(rows, n, x->b + p * x->ldb, x->ldb, packed_b);
        for (size_t i0 = m0; i0 < m1; i0 += K(SUM_COLUMNS)) {
            const size_t columns = m1 - i0 < K(SUM_COLUMNS) ? m1 - i0 : K(SUM_COLUMNS);
            REAL *to = packed_a;
            for (size_t i = 0; i < columns; i += TILE_ROWS) {
                const size_t some = columns - i < TILE_ROWS ? columns - i : TILE_ROWS;
                const REAL *from = x->a + p * lda + i0 + i;
                if (some == TILE_ROWS)
                    for (size_t r = 0; r < rows; ++r, from += lda, to += TILE_ROWS)
                        for (size_t e = 0; e < TILE_ROWS; ++e)
                            to[e] = from[e];
                else
                    for (size_t r = 0; r < rows; ++r, from += lda, to += TILE_ROWS)
                        for (size_t e = 0; e < some; ++e)
                            to[e] = from[e];
            }
            for (size_t j = 0; j < n; j += K(WIDTH)) {
                const size_t width = K(width_at)(j, n);
                for (size_t i = 0; i < columns; i += TILE_ROWS) {
                    const size_t some = columns - i < TILE_ROWS ? columns - i : TILE_ROWS;
                    REAL *c = x->c + (i0 + i) * ldc;
                    K(columns)(j, n, 1, x->factor, some, rows, packed_a + i * rows, 1, TILE_ROWS, packed_b + j * rows,
                               width, x->accumulate || p > 0 ? c : NULL, ldc, c, ldc);
                }
            }
        }
    }
}

static void K(outer)(rae_team *team, size_t m, size_t n, size_t k, const REAL *a, size_t lda, const REAL *b,
                     size_t ldb, REAL factor, int accumulate, REAL *scratch, REAL *c, size_t ldc)
{
    K(outer_work) work = {m, n, k, a, lda, b, ldb, factor, accumulate, scratch, c, ldc};
    rae_together(team, K(outer_share), &work);
}

