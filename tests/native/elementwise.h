/* Checks of the kernels that go through arrays element by element or row by row; included once per type, by typed.h. */

static void F(check_copies)(const TABLE *k, size_t n)
{
    const size_t row[] = {2, 0, 2};
    for (size_t rows = 0; rows <= 3; ++rows) {
        now("copies of %zu rows of %zu", rows, n);
        const REAL *x = F(random)(extent(3, n, n)), *apart = F(random)(extent(rows, n, n + 3));
        REAL *y = F(rubbish)(extent(rows, n, n + 2)), *z = F(rubbish)(extent(rows, n, n + 1));
        k->copy_rows(rows, n, apart, n + 3, y, n + 2);
        k->gather(rows, n, x, row, z, n + 1);
        for (size_t r = 0; r < rows; ++r)
            for (size_t i = 0; i < n; ++i) {
                EXPECT(y[r * (n + 2) + i] == apart[r * (n + 3) + i]);
                EXPECT(z[r * (n + 1) + i] == x[row[r] * n + i]);
            }
        release();
    }
}

static void F(check_vectors)(const TABLE *k, size_t n)
{
    now("vectors of %zu", n);
    REAL *x = F(random)(n), *y = F(rubbish)(n), *z = F(random)(n);
    for (size_t i = 0; i < n; ++i)
        x[i] *= 4;
    k->tanh(n, x, y);
    double squares = 0;
    for (size_t i = 0; i < n; ++i) {
        near(y[i], tanh((double)x[i]), 3 * EPSILON * fabs(tanh((double)x[i])));
        squares += (double)x[i] * x[i];
    }
    near(k->sum_squares(n, x), squares, (double)(n + 8) * EPSILON * squares);
    double apart = 0;
    for (size_t i = 0; i < n; ++i)
        apart += ((double)x[i] - z[i]) * ((double)x[i] - z[i]);
    near(k->distance(n, x, z), apart, (double)(n + 8) * EPSILON * apart);
    REAL *d = F(copy)(n, z), *sum = F(copy)(n, z);
    k->tanh_backward(n, y, d);
    k->axpy(n, (REAL)-0.75, x, sum);
    for (size_t i = 0; i < n; ++i) {
        near(d[i], z[i] * (1 - (double)y[i] * y[i]), 8 * EPSILON);
        near(sum[i], z[i] - 0.75 * (double)x[i], 8 * EPSILON);
    }
    k->tanh(n, x, x);
    for (size_t i = 0; i < n; ++i)
        EXPECT(x[i] == y[i]);
    EXPECT(k->first_beyond(n, 1, x) == n);
    for (size_t i = 0; i < n; i += 1 + n / 7) {
        x[i] = i % 2 ? (REAL)NAN : -2;
        EXPECT(k->first_beyond(n, 1, x) == i);
        x[i] = 1;
    }
    release();
}

static void F(check_losses)(const TABLE *k, size_t rows, size_t n)
{
    now("losses of %zu rows of %zu", rows, n);
    REAL *w = F(random)(rows), *c = F(random)(n), *x = F(random)(extent(rows, n, n + 1));
    REAL *g = F(random)(extent(rows, n, n + 2)), *kept = F(copy)(extent(rows, n, n + 2), g);
    double loss = 0, entropy = 0;
    for (size_t r = 0; r < rows; ++r) {
        w[r] = r % 3 == 1 ? 0 : (REAL)fabs(w[r]);
        for (size_t i = 0; i < n; ++i)
            loss += w[r] * pow(0.5 * ((double)kept[r * (n + 2) + i] + c[i] - x[r * (n + 1) + i]), 2);
    }
    near(k->residual(rows, n, w, c, x, n + 1, (REAL)0.5, g, n + 2), loss, (double)(n + 20) * EPSILON * loss);
    for (size_t r = 0; r < rows; ++r)
        for (size_t i = 0; i < n; ++i)
            near(g[r * (n + 2) + i], 0.5 * w[r] * ((double)kept[r * (n + 2) + i] + c[i] - x[r * (n + 1) + i]),
                 16 * EPSILON);
    memcpy(g, kept, extent(rows, n, n + 2) * sizeof(REAL));
    for (size_t r = 0; r < rows; ++r) { /* rows that sum to 1 */
        for (size_t i = 0; i < n; ++i)
            x[r * (n + 1) + i] = (REAL)1 / (REAL)n;
        double total = 0;
        for (size_t i = 0; i < n; ++i)
            total += exp((double)kept[r * (n + 2) + i] + c[i]);
        for (size_t i = 0; i < n; ++i)
            entropy += w[r] / (double)n * (log(total) - kept[r * (n + 2) + i] - c[i]);
    }
    if (n > 0)
        near(k->cross_entropy(rows, n, w, c, x, n + 1, g, n + 2), entropy, (double)(n + 20) * EPSILON * (1 + entropy));
    for (size_t r = 0; r < rows; ++r) {
        double total = 0;
        for (size_t i = 0; i < n; ++i)
            total += exp((double)kept[r * (n + 2) + i] + c[i]);
        for (size_t i = 0; i < n; ++i)
            near(g[r * (n + 2) + i], w[r] * (exp((double)kept[r * (n + 2) + i] + c[i]) / total - 1 / (double)n),
                 32 * EPSILON);
    }
    release();
}

static void F(check_rows)(const TABLE *k, size_t rows, size_t n)
{
    now("sums and limits of %zu rows of %zu", rows, n);
    REAL *x = F(random)(extent(rows, n, n + 3)), *sums = F(random)(n), *before = F(copy)(n, sums);
    EXPECT(k->rows_within(rows, n, 1, x, n + 3));
    for (int accumulate = 1; accumulate >= 0; --accumulate) {
        k->column_sums(rows, n, x, n + 3, (REAL)-0.5, accumulate, sums);
        for (size_t i = 0; i < n; ++i) {
            double sum = 0;
            for (size_t r = 0; r < rows; ++r)
                sum += x[r * (n + 3) + i];
            near(sums[i], (accumulate ? before[i] : 0) - 0.5 * sum, (double)(rows + 4) * EPSILON * (double)(rows + 1));
        }
    }
    if (rows && n) {
        x[extent(rows, n, n + 3) - 1] = (REAL)NAN;
        EXPECT(!k->rows_within(rows, n, 1, x, n + 3));
    }
    release();
}

/* The formulas of rae_fast/solvers.py, for one element. */
static void F(naive_update)(const char *name, const rae_step *s, double g, double *a, double *b, double *theta)
{
    const double *p = s->numbers, t = (double)s->t;
    const double mu = p[1] != 0 ? fmin(1 - 3 / (t + 4), p[0]) : p[0];
    if (!strcmp(name, "sgd"))
        *theta -= s->rate * g;
    else if (!strcmp(name, "momentum") || !strcmp(name, "nesterov")) {
        *a = mu * *a - s->rate * g;
        *theta += *name == 'm' ? *a : mu * *a - s->rate * g;
    } else if (!strcmp(name, "adagrad")) {
        *a += g * g;
        *theta -= s->rate * g / (sqrt(*a) + p[0]);
    } else if (!strcmp(name, "rmsprop")) {
        *a = p[0] * *a + (1 - p[0]) * g * g;
        *theta -= s->rate * g / (sqrt(*a) + p[1]);
    } else if (!strcmp(name, "adadelta")) {
        *a = p[0] * *a + (1 - p[0]) * g * g;
        const double move = sqrt((*b + p[1]) / (*a + p[1])) * g;
        *b = p[0] * *b + (1 - p[0]) * move * move;
        *theta -= s->rate * move;
    } else if (!strcmp(name, "adam")) {
        *a = p[0] * *a + (1 - p[0]) * g;
        *b = p[1] * *b + (1 - p[1]) * g * g;
        *theta -= s->rate * (*a / (1 - pow(p[0], t))) / (sqrt(*b / (1 - pow(p[1], t))) + p[2]);
    } else {
        now("no formula for the solver %s: tests/native/elementwise.h", name);
        EXPECT(!strcmp(name, "rprop"));
        const double turn = g * *a;
        *b = fmax(1e-6, fmin(50, *b * (turn > 0 ? 1.2 : turn < 0 ? 0.5 : 1)));
        *a = turn < 0 ? 0 : g;
        *theta -= *a > 0 ? *b : *a < 0 ? -*b : 0;
    }
}

static void F(check_solvers)(const TABLE *k, size_t n)
{
    const double numbers[] = {0.5, 0.875, 0.0625}; /* exact in either type, and good for all of them */
    const rae_step step = {.rate = 0.125, .t = 3, .numbers = numbers};
    for (size_t s = 0; k->solvers[s].name; ++s) {
        REAL *g = F(random)(n), *a = F(random)(n), *b = F(random)(n), *theta = F(random)(n);
        for (size_t i = 0; i < n; ++i) { /* squares, and steps, are positive */
            b[i] = (REAL)(0.1 + fabs(b[i]));
            if (!strcmp(k->solvers[s].name, "adagrad") || !strcmp(k->solvers[s].name, "rmsprop") || !strcmp(k->solvers[s].name, "adadelta"))
                a[i] = (REAL)(0.1 + fabs(a[i]));
        }
        REAL *a0 = F(copy)(n, a), *b0 = F(copy)(n, b), *theta0 = F(copy)(n, theta);
        k->solvers[s].update(&step, n, g, a, b, theta);
        for (size_t i = 0; i < n; ++i) {
            double first = a0[i], second = b0[i], expected = theta0[i];
            F(naive_update)(k->solvers[s].name, &step, g[i], &first, &second, &expected);
            now("solver %s, element %zu of %zu", k->solvers[s].name, i, n);
            near(a[i], first, 16 * EPSILON);
            near(b[i], second, 16 * EPSILON);
            near(theta[i], expected, 64 * EPSILON);
        }
        release();
    }
}

static void F(check_peak)(const TABLE *k)
{
    now("the peak");
    double sum = 0;
    for (size_t i = 0; i < k->peak_flops / (2 * k->lanes); ++i) {
        double chain = (double)i;
        for (int round = 0; round < 3; ++round)
            chain = chain * 0.999 + 0.001;
        sum += chain * (double)k->lanes;
    }
    near(k->peak(3), sum, 1e-4 * sum);
}
