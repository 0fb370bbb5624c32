/* Checks of the matrix products, of their operands in every layout, and of sums over rows; included by typed.h. */

/* b (rows, n), element (p, j) at b[p * n + j], as an operand of that layout of which the rows from `row` on are in use;
 * its memory is as large as the layout asks for, and what is not of b is NaN. */
static rae_operand F(operand)(const TABLE *k, rae_layout layout, size_t row, size_t rows, size_t n, const REAL *b)
{
    rae_operand w = {.layout = layout, .row = row};
    if (layout == RAE_PANELS) {
        REAL *panels = F(rubbish)(k->packed_size(rows, n));
        REAL *turned = F(random)(n * rows), *again = F(rubbish)(k->packed_size(rows, n));
        for (size_t p = 0; p < rows; ++p)
            for (size_t j = 0; j < n; ++j)
                turned[j * rows + p] = b[p * n + j];
        k->pack(rows, n, b, n, panels);
        k->pack_transposed(rows, n, turned, rows, again);
        for (size_t i = 0; i < k->packed_size(rows, n); ++i)
            EXPECT(panels[i] == again[i]); /* zeros beyond the columns included */
        w.b = panels;
        w.rows = rows;
        return w;
    }
    const int turned = layout == RAE_TURNED;
    w.columns = layout >= RAE_BARE ? n : 0;
    w.ld = (turned ? rows : layout == RAE_ROWS ? up_to(n, k->lanes) : n) + 1;
    REAL *lying = F(rubbish)(turned ? extent(n, rows, w.ld)
                                    : extent(rows, layout == RAE_ROWS ? up_to(n, k->lanes) : n, w.ld));
    for (size_t p = 0; p < rows; ++p)
        for (size_t j = 0; j < n; ++j)
            lying[turned ? j * w.ld + p : p * w.ld + j] = b[p * n + j];
    w.b = lying;
    return w;
}

/* c = init + a b, b with one row more in front; init: 0 none, 1 a row for all, 2 rows, 3 c itself. An operand as it
 * lies may have fewer columns than c. */
static void F(check_product)(const TABLE *k, rae_team *team, rae_layout layout, size_t m, size_t n, size_t sum,
                             int init)
{
    now("product %zu x %zu x %zu, layout %d, init %d, team of %zu", m, n, sum, (int)layout, init,
        rae_team_members(team));
    const size_t fewer = layout >= RAE_BARE && init != 1 ? n / 4 : 0, columns = n - fewer, ldc = n + 1;
    const int by_columns = layout < RAE_BARE && init == 2; /* a with its columns one after the other */
    const size_t a_row = by_columns ? 1 : sum + 2, a_col = by_columns ? m + 1 : 1;
    const REAL *a = F(random)(by_columns ? extent(sum, m, m + 1) : extent(m, sum, sum + 2));
    const REAL *b = F(random)((sum + 1) * columns);
    const rae_operand w = F(operand)(k, layout, 1, sum + 1, columns, b);
    REAL *c = init == 3 ? F(random)(extent(m, n, ldc)) : F(rubbish)(extent(m, n, ldc));
    const REAL *start = init == 1 ? F(random)(n) : init == 2 ? F(random)(extent(m, n, n + 2)) : NULL;
    const REAL *before = init == 3 ? F(copy)(extent(m, n, ldc), c) : start;
    const size_t ld_init = init == 2 ? n + 2 : init == 3 ? ldc : 0;
    k->product(team, m, n, sum, a, a_row, a_col, &w, init == 3 ? c : start, ld_init, c, ldc);
    for (size_t i = 0; i < m; ++i)
        for (size_t j = 0; j < n; ++j) {
            double exact = before ? before[i * ld_init + j] : 0;
            for (size_t p = 0; p < sum && j < columns; ++p)
                exact += (double)a[i * a_row + p * a_col] * b[(p + 1) * columns + j];
            near(c[i * ldc + j], exact, 8 * (double)(sum + 1) * EPSILON);
        }
    release();
}

static void F(check_outer)(const TABLE *k, rae_team *team, size_t m, size_t n, size_t rows, int accumulate)
{
    now("sum over %zu rows of %zu x %zu, accumulate %d, team of %zu", rows, m, n, accumulate,
        rae_team_members(team));
    const size_t lda = up_to(m, k->lanes) + 1, ldb = up_to(n, k->lanes) + 1, ldc = n + 1;
    const REAL *a = F(random)(extent(rows, up_to(m, k->lanes), lda));
    REAL *b = F(random)(extent(rows, up_to(n, k->lanes), ldb));
    for (size_t r = 0; r < rows; ++r)
        for (size_t j = n; j < up_to(n, k->lanes); ++j)
            b[r * ldb + j] = (REAL)NAN;
    REAL *c = accumulate ? F(random)(extent(m, n, ldc)) : F(rubbish)(extent(m, n, ldc));
    const REAL *before = F(copy)(extent(m, n, ldc), c);
    REAL *scratch = F(rubbish)(rae_team_members(team) * k->sum_scratch(m, n, rows));
    k->outer(team, m, n, rows, a, lda, b, ldb, (REAL)-0.75, accumulate, scratch, c, ldc);
    for (size_t i = 0; i < m; ++i)
        for (size_t j = 0; j < n; ++j) {
            double sum = 0;
            for (size_t r = 0; r < rows; ++r)
                sum += (double)a[r * lda + i] * b[r * ldb + j];
            near(c[i * ldc + j], (accumulate ? before[i * ldc + j] : 0) - 0.75 * sum,
                 8 * (double)(rows + 1) * EPSILON);
        }
    release();
}
