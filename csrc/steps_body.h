/* The two recurrences over time, whole; included by kernels_body.h.
 *
 * They write whole vectors: what lies between n and the next vector's end of a row must be there, of h, d, bias and
 * ending, and gets what its lanes make of it (0 of 0).
 *
 * Rows are packed: step t has active[t] of them, one step after the other, each `ld` elements from the next, readable
 * and writable up to a full vector. A later step's rows belong to the first sequences of the earlier one. Every other
 * step goes through the panels of the operand backwards: what the nearer cache still holds of it is used again
 * (docs/performance.md, "Serpentine"). A team's members each take some panels, and meet after every step. */

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
        if (before)
            K(product_columns)(j0, j1, t & 1, 0, rows, n, x->n, before, ld_before, 1, x->w,
                               x->bias ? x->bias : h, x->bias ? 0 : x->ld, h, x->ld);
        if (x->squash)
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
        if (later)
            K(product_columns)(j0, j1, t & 1, 0, later, n, x->n, d_next, ld, 1, x->w, x->ending ? NULL : d, ld, d, ld);
        if (h || pull_next)
            for (size_t r = 0; r < rows; ++r) {
                const REAL *pull = pull_next && r < later ? pull_next + r * ld_pull_next : NULL;
                for (size_t j = j0; j < j1; j += LANES) {
                    VEC d_j = K(load)(d + r * ld + j);
                    if (pull)
                        d_j -= K(load)(pull + j);
                    if (h) {
                        const VEC h_j = K(load)(h + r * ld + j);
                        d_j *= (REAL)1 - h_j * h_j;
                    }
                    K(store)(d + r * ld + j, d_j);
                }
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
