/* The inner products of small_gemm for vectors of WIDTH bytes; T(name) adds the suffix. */

typedef REAL T(vec) __attribute__((vector_size(WIDTH)));
typedef REAL T(mem) __attribute__((vector_size(WIDTH), aligned(sizeof(REAL)), may_alias));
#define VEC_T T(vec)
#define LOAD(p) ((VEC_T) * (const T(mem) *)(p))
#define LANES_T (WIDTH / sizeof(REAL))

/* c[i, 0 : nv * LANES_T] (+)= sum_p a(i, p) b[p, ...] for mr rows of c, all sums in registers.
 * chains > 1 (only with mr == 1) splits the sum over p into interleaved partial sums, because one
 * row alone would wait for the latency of each multiply-add. */
INLINE void T(tile)(const int mr, const int nv, const int chains, size_t k, const REAL *a,
                    size_t a_row, size_t a_col, const REAL *b, size_t ldb, int accumulate, REAL *c,
                    size_t ldc)
{
    VEC_T s[4][4];
    for (int i = 0; i < mr * chains; ++i)
        for (int v = 0; v < nv; ++v)
            s[i][v] = accumulate && i < mr ? LOAD(c + i * ldc + v * LANES_T) : (VEC_T){0};
    size_t p = 0;
    if (chains > 1)
        for (; p + chains <= k; p += chains)
            for (int q = 0; q < chains; ++q)
                for (int v = 0; v < nv; ++v)
                    s[q][v] += a[(p + q) * a_col] * LOAD(b + (p + q) * ldb + v * LANES_T);
    for (; p < k; ++p) {
        VEC_T b_p[4];
        for (int v = 0; v < nv; ++v)
            b_p[v] = LOAD(b + p * ldb + v * LANES_T);
        for (int i = 0; i < mr; ++i)
            for (int v = 0; v < nv; ++v)
                s[i][v] += a[i * a_row + p * a_col] * b_p[v];
    }
    for (int q = 1; q < chains; ++q)
        for (int v = 0; v < nv; ++v)
            s[0][v] += s[q][v];
    for (int i = 0; i < mr; ++i)
        for (int v = 0; v < nv; ++v)
            *(T(mem) *)(c + i * ldc + v * LANES_T) = s[i][v];
}

/* Rows mr at a time, then what is left in one smaller tile. */
INLINE void T(stripe)(const int nv, size_t m, size_t k, const REAL *a, size_t a_row, size_t a_col,
                      const REAL *b, size_t ldb, int accumulate, REAL *c, size_t ldc)
{
    size_t i = 0;
    if (m == 1) {
        T(tile)(1, nv, 4, k, a, a_row, a_col, b, ldb, accumulate, c, ldc);
        return;
    }
    for (; i + 4 <= m; i += 4)
        T(tile)(4, nv, 1, k, a + i * a_row, a_row, a_col, b, ldb, accumulate, c + i * ldc, ldc);
    if (i + 2 <= m) {
        T(tile)(2, nv, 1, k, a + i * a_row, a_row, a_col, b, ldb, accumulate, c + i * ldc, ldc);
        i += 2;
    }
    if (i < m)
        T(tile)(1, nv, 1, k, a + i * a_row, a_row, a_col, b, ldb, accumulate, c + i * ldc, ldc);
}

#undef VEC_T
#undef LOAD
#undef LANES_T
