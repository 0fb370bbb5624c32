/* Checks of the two recurrences over time, by loops that go step by step and number by number; included by typed.h. */

enum { F(STEPS) = 4 };

/* d or h (rows, n) of a step from those of a neighbouring one, times w (n, n). */
static double F(times)(size_t n, const double *row, const REAL *w, size_t j)
{
    double sum = 0;
    for (size_t p = 0; p < n; ++p)
        sum += row[p] * (double)w[p * n + j];
    return sum;
}

static void F(check_forward)(const TABLE *k, rae_team *team, rae_layout layout, size_t n, const size_t *active,
                             int before, int bias, int squash)
{
    now("forward, %zu units, %zu rows at first, layout %d, before %d, bias %d, squash %d, team of %zu", n, active[0],
        (int)layout, before, bias, squash, rae_team_members(team));
    const size_t ld = up_to(n, k->lanes) + k->lanes;
    size_t rows = 0;
    for (size_t t = 0; t < F(STEPS); ++t)
        rows += active[t];
    const REAL *b = F(random)(n * n);
    REAL *w = F(copy)(n * n, b);
    for (size_t i = 0; i < n * n; ++i)
        w[i] /= (REAL)n;
    const rae_operand operand = F(operand)(k, layout, 0, n, n, w);
    const REAL *first = before ? F(random)(extent(active[0], n, n + 1)) : NULL;
    const REAL *row = bias ? F(random)(up_to(n, k->lanes)) : NULL;
    REAL *h = F(random)(extent(rows, up_to(n, k->lanes), ld));
    const REAL *held = F(copy)(extent(rows, up_to(n, k->lanes), ld), h);
    k->forward_steps(team, F(STEPS), active, n, first, n + 1, &operand, row, squash, h, ld);
    double *expected = malloc((rows * n + 1) * sizeof(double));
    for (size_t t = 0, at = 0; t < F(STEPS); at += active[t++])
        for (size_t r = 0; r < active[t]; ++r)
            for (size_t j = 0; j < n; ++j) {
                double sum = bias && (t || before) ? row[j] : held[(at + r) * ld + j];
                if (t)
                    sum += F(times)(n, expected + (at - active[t - 1] + r) * n, w, j);
                else if (before)
                    for (size_t p = 0; p < n; ++p)
                        sum += (double)first[r * (n + 1) + p] * w[p * n + j];
                expected[(at + r) * n + j] = squash ? tanh(sum) : sum;
                near(h[(at + r) * ld + j], expected[(at + r) * n + j], 64 * (double)(n + 1) * EPSILON);
            }
    free(expected);
    release();
}

/* with: of pull, h and ending, one bit each; n_next: rows of a step after the last. */
static void F(check_backward)(const TABLE *k, rae_team *team, rae_layout layout, size_t n, const size_t *active,
                              size_t n_next, int with)
{
    now("backward, %zu units, %zu rows at first, %zu after, layout %d, with %d, team of %zu", n, active[0], n_next,
        (int)layout, with, rae_team_members(team));
    const size_t whole = up_to(n, k->lanes), ld = whole + k->lanes, ld_pull = whole + 1;
    size_t rows = 0;
    for (size_t t = 0; t < F(STEPS); ++t)
        rows += active[t];
    REAL *w = F(random)(n * n);
    for (size_t i = 0; i < n * n; ++i)
        w[i] /= (REAL)n;
    const rae_operand operand = F(operand)(k, layout, 0, n, n, w);
    const REAL *d_next = n_next ? F(random)(extent(n_next, n, ld)) : NULL;
    const REAL *pull_next = n_next && with & 1 ? F(random)(extent(n_next, whole, ld_pull)) : NULL;
    const REAL *pull = with & 1 ? F(random)(extent(rows, whole, ld_pull)) : NULL;
    const REAL *h = with & 2 ? F(random)(extent(rows, whole, ld)) : NULL;
    const REAL *ending = with & 4 ? F(random)(extent(active[0], whole, ld)) : NULL;
    REAL *d = ending ? F(rubbish)(extent(rows, whole, ld)) : F(random)(extent(rows, whole, ld));
    const REAL *held = F(copy)(extent(rows, whole, ld), d);
    k->backward_steps(team, F(STEPS), rows, active, n_next, n, d_next, pull_next, ld_pull, &operand, ending, pull,
                      ld_pull, h, d, ld);
    double *expected = malloc(((rows + n_next) * n + 1) * sizeof(double));
    for (size_t r = 0; r < n_next; ++r)
        for (size_t j = 0; j < n; ++j)
            expected[(rows + r) * n + j] = d_next[r * ld + j];
    for (size_t t = F(STEPS), at = rows, later = n_next; t-- > 0; later = active[t]) {
        const REAL *pulls = t + 1 < F(STEPS) ? pull ? pull + at * ld_pull : NULL : pull_next;
        const double *next = expected + at * n;
        at -= active[t];
        for (size_t r = 0; r < active[t]; ++r)
            for (size_t j = 0; j < n; ++j) {
                double sum = !ending ? held[(at + r) * ld + j] : r < later ? 0 : ending[r * ld + j];
                if (r < later)
                    sum += F(times)(n, next + r * n, w, j) - (pulls ? pulls[r * ld_pull + j] : 0);
                expected[(at + r) * n + j] = sum * (h ? 1 - pow(h[(at + r) * ld + j], 2) : 1);
                near(d[(at + r) * ld + j], expected[(at + r) * n + j], 256 * (double)(n + 1) * EPSILON);
            }
    }
    free(expected);
    release();
}
