/* The two recurrences over time, whole; included by kernels_body.h.
 *
 * They write whole vectors: what lies between n and the next vector's end of a row must be there, of h, d, pull, bias
 * and ending, and what is written there is what its lanes make of it (0 of 0).
 *
 * Rows are packed: step t has active[t] of them, one step after the other, each `ld` elements from the next, readable
 * and writable up to a full vector. A later step's rows belong to the first sequences of the earlier one. Every other
 * step goes through the operand backwards: what the nearer cache still holds of it is used again (docs/performance.md,
 * "Serpentine"). A team's members each take some columns, and meet after every step. */

/* A step of one row, in one panel of nv vectors: the sum goes on to tanh, or to its derivative, in registers. */
INLINE void K(forward_panel)(const int nv, size_t k, const REAL *before, const REAL *b, size_t ldb, const REAL *init,
                             int squash, REAL *h)
{
    VEC s[8][PANEL];
    for (int v = 0; v < nv; ++v)
        s[0][v] = K(load)(init + v * LANES);
    K(tile_sum)(1, nv, CHAINS(nv), k, before, 0, 1, b, ldb, s);
    for (int v = 0; v < nv; ++v)
        K(store)(h + v * LANES, squash ? K(tanh_vec)(s[0][v]) : s[0][v]);
}

/* Back through tanh: (d - pull) (1 - h^2). */
INLINE VEC K(backward_lanes)(VEC d, const REAL *pull, const REAL *h)
{
    if (pull)
        d -= K(load)(pull);
    if (h) {
        const VEC h_j = K(load)(h);
        d *= (REAL)1 - h_j * h_j;
    }
    return d;
}

INLINE void K(backward_panel)(const int nv, size_t k, const REAL *d_next, const REAL *b, size_t ldb, const REAL *pull,
                              const REAL *h, REAL *d)
{
    VEC s[8][PANEL];
    for (int v = 0; v < nv; ++v)
        s[0][v] = K(load)(d + v * LANES);
    K(tile_sum)(1, nv, CHAINS(nv), k, d_next, 0, 1, b, ldb, s);
    for (int v = 0; v < nv; ++v)
        K(store)(d + v * LANES, K(backward_lanes)(s[0][v], pull ? pull + v * LANES : NULL, h ? h + v * LANES : NULL));
}

/* A function of its own for each width, as in product_body.h. */
#define OF_WIDTH(nv)                                                                                         \
    static __attribute__((noinline)) void K(forward_panel_##nv)(size_t k, const REAL *before, const REAL *b, \
                                                                size_t ldb, const REAL *init, int squash, REAL *h) \
    {                                                                                                        \
        K(forward_panel)(nv, k, before, b, ldb, init, squash, h);                                            \
    }                                                                                                        \
    static __attribute__((noinline)) void K(backward_panel_##nv)(size_t k, const REAL *d_next, const REAL *b, \
                                                                 size_t ldb, const REAL *pull, const REAL *h, REAL *d) \
    {                                                                                                        \
        K(backward_panel)(nv, k, d_next, b, ldb, pull, h, d);                                                \
    }
OF_WIDTH(1)
OF_WIDTH(2)
#if PANEL > 2
OF_WIDTH(3)
#endif
#undef OF_WIDTH

static void K(forward_row)(size_t j0, size_t j1, int backwards, size_t n, size_t k, const REAL *before,
                           const rae_operand *w, const REAL *init, int squash, REAL *h)
{
    const size_t panels = (j1 - j0 + K(WIDTH) - 1) / K(WIDTH);
    for (size_t i = 0; i < panels; ++i) {
        const size_t j = j0 + (backwards ? panels - 1 - i : i) * K(WIDTH);
        size_t ldb;
        const REAL *b = K(panel_at)(w, j, n, &ldb);
        switch (K(width_at)(j, n) / LANES) {
#if PANEL > 2
        case 3: K(forward_panel_3)(k, before, b, ldb, init + j, squash, h + j); break;
#endif
        case 2: K(forward_panel_2)(k, before, b, ldb, init + j, squash, h + j); break;
        default: K(forward_panel_1)(k, before, b, ldb, init + j, squash, h + j);
        }
    }
}

static void K(backward_row)(size_t j0, size_t j1, int backwards, size_t n, size_t k, const REAL *d_next,
                            const rae_operand *w, const REAL *pull, const REAL *h, REAL *d)
{
    const size_t panels = (j1 - j0 + K(WIDTH) - 1) / K(WIDTH);
    for (size_t i = 0; i < panels; ++i) {
        const size_t j = j0 + (backwards ? panels - 1 - i : i) * K(WIDTH);
        size_t ldb;
        const REAL *b = K(panel_at)(w, j, n, &ldb);
        const REAL *pull_j = pull ? pull + j : NULL, *h_j = h ? h + j : NULL;
        switch (K(width_at)(j, n) / LANES) {
#if PANEL > 2
        case 3: K(backward_panel_3)(k, d_next, b, ldb, pull_j, h_j, d + j); break;
#endif
        case 2: K(backward_panel_2)(k, d_next, b, ldb, pull_j, h_j, d + j); break;
        default: K(backward_panel_1)(k, d_next, b, ldb, pull_j, h_j, d + j);
        }
    }
}

/* The same through a turned operand. */
static void K(backward_row_turned)(size_t j0, size_t j1, int backwards, size_t k, const REAL *d_next,
                                   const rae_operand *w, const REAL *pull, const REAL *h, REAL *d)
{
    const size_t vectors = (j1 - j0 + LANES - 1) / LANES;
    for (size_t i = 0; i < vectors; ++i) {
        const size_t j = j0 + (backwards ? vectors - 1 - i : i) * LANES;
        K(store)(d + j, K(backward_lanes)(K(load)(d + j) + K(turned_lanes)(j, k, d_next, w), pull ? pull + j : NULL,
                                          h ? h + j : NULL));
    }
}

typedef struct {
    size_t steps;
    const size_t *active;
    size_t n;
    const REAL *before;      /* rows of the step before the first; NULL if their product is already in h */
    size_t ld_before;
    const rae_operand *w;
    const REAL *bias;        /* (n), or NULL: the rows hold what is added */
    int squash;
    REAL *h;
    size_t ld;
    rae_team *team;
} K(forward_work);

INLINE void K(tanh_columns)(size_t j0, size_t j1, size_t rows, REAL *h, size_t ld)
{
    for (size_t r = 0; r < rows; ++r, h += ld)
        for (size_t j = j0; j < j1; j += LANES)
            K(store)(h + j, K(tanh_vec)(K(load)(h + j)));
}

static void K(forward_share)(void *argument, size_t member, size_t members)
{
    const K(forward_work) *const x = argument;
    size_t j0, j1;
    const size_t n = (x->n + LANES - 1) / LANES * LANES;
    rae_share(n, K(WIDTH), member, members, &j0, &j1);
    const REAL *before = x->before;
    size_t ld_before = x->ld_before;
    REAL *h = x->h;
    for (size_t t = 0; t < x->steps; ++t) {
        const size_t rows = x->active[t];
        const int one = before && rows == 1 && x->w->layout < RAE_BARE;
        if (one)
            K(forward_row)(j0, j1, t & 1, n, x->n, before, x->w, x->bias ? x->bias : h, x->squash, h);
        else if (before)
            K(product_columns)(j0, j1, t & 1, 0, 1, rows, n, x->n, before, ld_before, 1, x->w,
                               x->bias ? x->bias : h, x->bias ? 0 : x->ld, h, x->ld);
        if (x->squash && !one)
            K(tanh_columns)(j0, j1, rows, h, x->ld);
        before = h;
        ld_before = x->ld;
        h += rows * x->ld;
        if (members > 1)
            rae_meet(x->team, members);
    }
}

static void K(forward_steps)(rae_team *team, size_t steps, const size_t *active, size_t n, const REAL *before,
                             size_t ld_before, const rae_operand *w, const REAL *bias, int squash, REAL *h, size_t ld)
{
    K(forward_work) work = {steps, active, n, before, ld_before, w, bias, squash, h, ld, team};
    rae_together(team, K(forward_share), &work);
}

typedef struct {
    size_t steps, rows;
    const size_t *active;
    size_t n_next;           /* rows of the step after the last */
    size_t n;
    const REAL *d_next, *pull_next;
    size_t ld_pull_next;
    const rae_operand *w;
    const REAL *ending, *pull;
    size_t ld_pull;
    const REAL *h;
    REAL *d;
    size_t ld;
    rae_team *team;
} K(backward_work);

static void K(backward_share)(void *argument, size_t member, size_t members)
{
    const K(backward_work) *const x = argument;
    size_t j0, j1;
    const size_t n = (x->n + LANES - 1) / LANES * LANES;
    rae_share(n, K(WIDTH), member, members, &j0, &j1);
    const size_t ld = x->ld;
    const REAL *d_next = x->d_next, *pull_next = x->pull_next;
    size_t later = x->n_next, ld_pull_next = x->ld_pull_next, row = x->rows;
    for (size_t t = x->steps; t-- > 0;) {
        const size_t rows = x->active[t];
        row -= rows;
        REAL *d = x->d + row * ld;
        const REAL *h = x->h ? x->h + row * ld : NULL;
        if (x->ending)
            for (size_t r = later; r < rows; ++r)
                for (size_t j = j0; j < j1; j += LANES)
                    K(store)(d + r * ld + j, K(load)(x->ending + r * ld + j));
        const int one = later == 1 && rows == 1 && !x->ending && x->w->layout != RAE_BARE;
        if (one && x->w->layout == RAE_TURNED)
            K(backward_row_turned)(j0, j1, t & 1, x->n, d_next, x->w, pull_next, h, d);
        else if (one)
            K(backward_row)(j0, j1, t & 1, n, x->n, d_next, x->w, pull_next, h, d);
        else if (later)
            K(product_columns)(j0, j1, t & 1, 0, 1, later, n, x->n, d_next, ld, 1, x->w, x->ending ? NULL : d, ld, d,
                               ld);
        if ((h || pull_next) && !one)
            for (size_t r = 0; r < rows; ++r) {
                const REAL *pull = pull_next && r < later ? pull_next + r * ld_pull_next : NULL;
                for (size_t j = j0; j < j1; j += LANES)
                    K(store)(d + r * ld + j, K(backward_lanes)(K(load)(d + r * ld + j), pull ? pull + j : NULL,
                                                               h ? h + r * ld + j : NULL));
            }
        d_next = d;
        later = rows;
        if (x->pull) {
            pull_next = x->pull + row * x->ld_pull;
            ld_pull_next = x->ld_pull;
        }
        if (members > 1)
            rae_meet(x->team, members);
    }
}

static void K(backward_steps)(rae_team *team, size_t steps, size_t rows, const size_t *active, size_t n_next, size_t n,
                              const REAL *d_next, const REAL *pull_next, size_t ld_pull_next, const rae_operand *w,
                              const REAL *ending, const REAL *pull, size_t ld_pull, const REAL *h, REAL *d, size_t ld)
{
    K(backward_work) work = {steps, rows, active, n_next, n, d_next, pull_next, ld_pull_next,
                             w, ending, pull, ld_pull, h, d, ld, team};
    rae_together(team, K(backward_share), &work);
}

#undef CHAINS
