"""The C kernels of csrc/, one fused name each, through the table of the instruction set in use."""

from rae_fast._blas cimport real

cdef extern from "rae_kernels.h":
    ctypedef struct rae_team:
        pass

    ctypedef enum rae_layout:
        RAE_PANELS
        RAE_ROWS
        RAE_BARE
        RAE_TURNED

    ctypedef struct rae_operand:
        rae_layout layout
        const void *b
        size_t row
        size_t rows
        size_t ld
        size_t columns

    ctypedef struct rae_table_f32:
        void (*copy_rows)(size_t, size_t, const float *, size_t, float *, size_t) noexcept nogil
        void (*gather)(size_t, size_t, const float *, const size_t *, float *, size_t) noexcept nogil
        void (*tanh)(size_t, const float *, float *) noexcept nogil
        void (*tanh_backward)(size_t, const float *, float *) noexcept nogil
        double (*residual)(size_t, size_t, const float *, const float *, const float *, size_t, float *,
                           size_t) noexcept nogil
        double (*cross_entropy)(size_t, size_t, const float *, const float *, const float *, size_t, float *,
                                size_t) noexcept nogil
        void (*sgd_update)(size_t, float, const float *, float *) noexcept nogil
        double (*sum_squares)(size_t, const float *) noexcept nogil
        void (*momentum_update)(size_t, float, float, int, const float *, float *, float *) noexcept nogil
        void (*rmsprop_update)(size_t, float, float, float, const float *, float *, float *) noexcept nogil
        void (*adadelta_update)(size_t, float, float, float, const float *, float *, float *, float *) noexcept nogil
        void (*adam_update)(size_t, float, float, float, float, float, const float *, float *, float *, float *) noexcept nogil
        void (*rprop_update)(size_t, const float *, float *, float *, float *) noexcept nogil
        size_t (*first_beyond)(size_t, float, const float *) noexcept nogil
        int (*rows_within)(size_t, size_t, float, const float *, size_t) noexcept nogil
        void (*column_sums)(size_t, size_t, const float *, size_t, float, int, float *) noexcept nogil
        size_t (*packed_size)(size_t, size_t) noexcept nogil
        void (*pack)(size_t, size_t, const float *, size_t, float *) noexcept nogil
        void (*pack_transposed)(size_t, size_t, const float *, size_t, float *) noexcept nogil
        void (*product)(rae_team *, size_t, size_t, size_t, const float *, size_t, size_t, const rae_operand *,
                        const float *, size_t, float *, size_t) noexcept nogil
        void (*outer)(rae_team *, size_t, size_t, size_t, const float *, size_t, const float *, size_t, float, int,
                      float *, float *, size_t) noexcept nogil
        size_t (*sum_scratch)(size_t, size_t, size_t) noexcept nogil
        void (*forward_steps)(rae_team *, size_t, const size_t *, size_t, const float *, size_t, const rae_operand *,
                              const float *, int, float *, size_t) noexcept nogil
        void (*backward_steps)(rae_team *, size_t, size_t, const size_t *, size_t, size_t, const float *, const float *,
                               size_t, const rae_operand *, const float *, const float *, size_t, const float *, float *,
                               size_t) noexcept nogil
        double (*peak)(size_t) noexcept nogil
        size_t peak_flops
        size_t lanes

    ctypedef struct rae_table_f64:
        void (*copy_rows)(size_t, size_t, const double *, size_t, double *, size_t) noexcept nogil
        void (*gather)(size_t, size_t, const double *, const size_t *, double *, size_t) noexcept nogil
        void (*tanh)(size_t, const double *, double *) noexcept nogil
        void (*tanh_backward)(size_t, const double *, double *) noexcept nogil
        double (*residual)(size_t, size_t, const double *, const double *, const double *, size_t, double *,
                           size_t) noexcept nogil
        double (*cross_entropy)(size_t, size_t, const double *, const double *, const double *, size_t, double *,
                                size_t) noexcept nogil
        void (*sgd_update)(size_t, double, const double *, double *) noexcept nogil
        double (*sum_squares)(size_t, const double *) noexcept nogil
        void (*momentum_update)(size_t, double, double, int, const double *, double *, double *) noexcept nogil
        void (*rmsprop_update)(size_t, double, double, double, const double *, double *, double *) noexcept nogil
        void (*adadelta_update)(size_t, double, double, double, const double *, double *, double *, double *) noexcept nogil
        void (*adam_update)(size_t, double, double, double, double, double, const double *, double *, double *, double *) noexcept nogil
        void (*rprop_update)(size_t, const double *, double *, double *, double *) noexcept nogil
        size_t (*first_beyond)(size_t, double, const double *) noexcept nogil
        int (*rows_within)(size_t, size_t, double, const double *, size_t) noexcept nogil
        void (*column_sums)(size_t, size_t, const double *, size_t, double, int, double *) noexcept nogil
        size_t (*packed_size)(size_t, size_t) noexcept nogil
        void (*pack)(size_t, size_t, const double *, size_t, double *) noexcept nogil
        void (*pack_transposed)(size_t, size_t, const double *, size_t, double *) noexcept nogil
        void (*product)(rae_team *, size_t, size_t, size_t, const double *, size_t, size_t, const rae_operand *,
                        const double *, size_t, double *, size_t) noexcept nogil
        void (*outer)(rae_team *, size_t, size_t, size_t, const double *, size_t, const double *, size_t, double, int,
                      double *, double *, size_t) noexcept nogil
        size_t (*sum_scratch)(size_t, size_t, size_t) noexcept nogil
        void (*forward_steps)(rae_team *, size_t, const size_t *, size_t, const double *, size_t, const rae_operand *,
                              const double *, int, double *, size_t) noexcept nogil
        void (*backward_steps)(rae_team *, size_t, size_t, const size_t *, size_t, size_t, const double *, const double *,
                               size_t, const rae_operand *, const double *, const double *, size_t, const double *, double *,
                               size_t) noexcept nogil
        double (*peak)(size_t) noexcept nogil
        size_t peak_flops
        size_t lanes

    ctypedef struct rae_isa:
        const char *name
        int (*usable)() noexcept nogil
        const rae_table_f32 *f32
        const rae_table_f64 *f64

    const rae_isa RAE_ISAS[]
    const size_t RAE_N_ISAS
    const rae_isa *rae_find_isa(const char *name) noexcept nogil

cdef const rae_isa *in_use  # the row of the table that every kernel below is taken from


cdef inline void copy_rows(size_t rows, size_t n, const real *x, size_t ldx, real *y, size_t ldy) noexcept nogil:
    if real is float:
        in_use.f32.copy_rows(rows, n, x, ldx, y, ldy)
    else:
        in_use.f64.copy_rows(rows, n, x, ldx, y, ldy)


cdef inline void gather(size_t rows, size_t n, const real *x, const Py_ssize_t *row, real *y, size_t ldy) noexcept nogil:
    if real is float:
        in_use.f32.gather(rows, n, x, <const size_t *>row, y, ldy)
    else:
        in_use.f64.gather(rows, n, x, <const size_t *>row, y, ldy)


cdef inline void tanh_(size_t n, const real *x, real *y) noexcept nogil:
    if real is float:
        in_use.f32.tanh(n, x, y)
    else:
        in_use.f64.tanh(n, x, y)


cdef inline void tanh_backward(size_t n, const real *h, real *d) noexcept nogil:
    if real is float:
        in_use.f32.tanh_backward(n, h, d)
    else:
        in_use.f64.tanh_backward(n, h, d)


cdef inline double residual(size_t rows, size_t n, const real *w, const real *c, const real *z, size_t ldz,
                        real *g, size_t ldg) noexcept nogil:
    if real is float:
        return in_use.f32.residual(rows, n, w, c, z, ldz, g, ldg)
    else:
        return in_use.f64.residual(rows, n, w, c, z, ldz, g, ldg)


cdef inline double cross_entropy(size_t rows, size_t n, const real *w, const real *c, const real *z, size_t ldz,
                             real *g, size_t ldg) noexcept nogil:
    if real is float:
        return in_use.f32.cross_entropy(rows, n, w, c, z, ldz, g, ldg)
    else:
        return in_use.f64.cross_entropy(rows, n, w, c, z, ldz, g, ldg)


cdef inline void sgd_update(size_t n, double rate, const real *grad, real *theta) noexcept nogil:
    if real is float:
        in_use.f32.sgd_update(n, <float>rate, grad, theta)
    else:
        in_use.f64.sgd_update(n, rate, grad, theta)


cdef inline double sum_squares(size_t n, const real *x) noexcept nogil:
    if real is float:
        return in_use.f32.sum_squares(n, x)
    else:
        return in_use.f64.sum_squares(n, x)


cdef inline void momentum_update(size_t n, double rate, double mu, bint nesterov, const real *grad,
                                 real *velocity, real *theta) noexcept nogil:
    if real is float:
        in_use.f32.momentum_update(n, <float>rate, <float>mu, nesterov, grad, velocity, theta)
    else:
        in_use.f64.momentum_update(n, rate, mu, nesterov, grad, velocity, theta)


cdef inline void rmsprop_update(size_t n, double rate, double rho, double epsilon, const real *grad,
                                real *square, real *theta) noexcept nogil:
    if real is float:
        in_use.f32.rmsprop_update(n, <float>rate, <float>rho, <float>epsilon, grad, square, theta)
    else:
        in_use.f64.rmsprop_update(n, rate, rho, epsilon, grad, square, theta)


cdef inline void adadelta_update(size_t n, double rate, double rho, double epsilon, const real *grad,
                                 real *square, real *moved, real *theta) noexcept nogil:
    if real is float:
        in_use.f32.adadelta_update(n, <float>rate, <float>rho, <float>epsilon, grad, square, moved, theta)
    else:
        in_use.f64.adadelta_update(n, rate, rho, epsilon, grad, square, moved, theta)


cdef inline void adam_update(size_t n, double rate, double beta_1, double beta_2, double root_bias,
                             double epsilon, const real *grad, real *mean, real *square,
                             real *theta) noexcept nogil:
    if real is float:
        in_use.f32.adam_update(n, <float>rate, <float>beta_1, <float>beta_2, <float>root_bias,
                                     <float>epsilon, grad, mean, square, theta)
    else:
        in_use.f64.adam_update(n, rate, beta_1, beta_2, root_bias, epsilon, grad, mean, square, theta)


cdef inline void rprop_update(size_t n, const real *grad, real *previous, real *step, real *theta) noexcept nogil:
    if real is float:
        in_use.f32.rprop_update(n, grad, previous, step, theta)
    else:
        in_use.f64.rprop_update(n, grad, previous, step, theta)


cdef inline size_t first_beyond(size_t n, double limit, const real *x) noexcept nogil:
    if real is float:
        return in_use.f32.first_beyond(n, <float>limit, x)
    else:
        return in_use.f64.first_beyond(n, limit, x)


cdef inline bint rows_within(size_t rows, size_t n, double limit, const real *x, size_t ldx) noexcept nogil:
    if real is float:
        return in_use.f32.rows_within(rows, n, <float>limit, x, ldx)
    else:
        return in_use.f64.rows_within(rows, n, limit, x, ldx)


cdef inline void column_sums(size_t rows, size_t n, const real *x, size_t ldx, double factor, bint accumulate,
                             real *out) noexcept nogil:
    if real is float:
        in_use.f32.column_sums(rows, n, x, ldx, <float>factor, accumulate, out)
    else:
        in_use.f64.column_sums(rows, n, x, ldx, factor, accumulate, out)


cdef inline void pack(size_t k, size_t n, const real *b, size_t ldb, real *out) noexcept nogil:
    if real is float:
        in_use.f32.pack(k, n, b, ldb, out)
    else:
        in_use.f64.pack(k, n, b, ldb, out)


cdef inline void pack_transposed(size_t k, size_t n, const real *b, size_t ldb, real *out) noexcept nogil:
    if real is float:
        in_use.f32.pack_transposed(k, n, b, ldb, out)
    else:
        in_use.f64.pack_transposed(k, n, b, ldb, out)


cdef inline void product(rae_team *team, size_t m, size_t n, size_t k, const real *a, size_t a_row, size_t a_col,
                         const rae_operand *b, const real *init, size_t ld_init, real *c, size_t ldc) noexcept nogil:
    if real is float:
        in_use.f32.product(team, m, n, k, a, a_row, a_col, b, init, ld_init, c, ldc)
    else:
        in_use.f64.product(team, m, n, k, a, a_row, a_col, b, init, ld_init, c, ldc)


cdef inline void outer(rae_team *team, size_t m, size_t n, size_t k, const real *a, size_t lda, const real *b, size_t ldb,
                       double factor, bint accumulate, real *scratch, real *c, size_t ldc) noexcept nogil:
    if real is float:
        in_use.f32.outer(team, m, n, k, a, lda, b, ldb, <float>factor, accumulate, scratch, c, ldc)
    else:
        in_use.f64.outer(team, m, n, k, a, lda, b, ldb, factor, accumulate, scratch, c, ldc)


cdef inline void forward_steps(rae_team *team, size_t steps, const Py_ssize_t *active, size_t n, const real *before,
                               size_t ld_before, const rae_operand *w, const real *bias, bint squash, real *h,
                               size_t ld) noexcept nogil:
    if real is float:
        in_use.f32.forward_steps(team, steps, <const size_t *>active, n, before, ld_before, w, bias, squash, h, ld)
    else:
        in_use.f64.forward_steps(team, steps, <const size_t *>active, n, before, ld_before, w, bias, squash, h, ld)


cdef inline void backward_steps(rae_team *team, size_t steps, size_t rows, const Py_ssize_t *active, size_t n_next,
                                size_t n, const real *d_next, const real *pull_next, size_t ld_pull_next,
                                const rae_operand *w, const real *ending, const real *pull, size_t ld_pull,
                                const real *h, real *d, size_t ld) noexcept nogil:
    if real is float:
        in_use.f32.backward_steps(team, steps, rows, <const size_t *>active, n_next, n, d_next, pull_next,
                                        ld_pull_next, w, ending, pull, ld_pull, h, d, ld)
    else:
        in_use.f64.backward_steps(team, steps, rows, <const size_t *>active, n_next, n, d_next, pull_next,
                                        ld_pull_next, w, ending, pull, ld_pull, h, d, ld)


cdef inline size_t lanes(size_t itemsize) noexcept nogil:
    """Elements in a vector."""
    return in_use.f32.lanes if itemsize == sizeof(float) else in_use.f64.lanes


cdef inline size_t packed_size(size_t k, size_t n, size_t itemsize) noexcept nogil:
    """Elements of a packed (k, n) matrix."""
    return in_use.f32.packed_size(k, n) if itemsize == sizeof(float) else in_use.f64.packed_size(k, n)


cdef inline size_t sum_scratch(size_t m, size_t n, size_t k, size_t itemsize) noexcept nogil:
    """Elements of scratch that `outer` needs for every member of the team."""
    if itemsize == sizeof(float):
        return in_use.f32.sum_scratch(m, n, k)
    return in_use.f64.sum_scratch(m, n, k)


cdef rae_team *start_team(size_t members) noexcept nogil
cdef void end_team(rae_team *team) noexcept nogil
cdef size_t team_members(const rae_team *team) noexcept nogil
cdef void together(rae_team *team, void (*job)(void *, size_t, size_t) noexcept nogil, void *argument) noexcept nogil
