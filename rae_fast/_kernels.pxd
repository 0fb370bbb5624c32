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

    ctypedef struct rae_step:
        double rate
        size_t t
        const double *numbers

    ctypedef struct rae_solver_f32:
        const char *name
        void (*update)(const rae_step *, size_t, const float *, float *, float *, float *) noexcept nogil

    ctypedef struct rae_solver_f64:
        const char *name
        void (*update)(const rae_step *, size_t, const double *, double *, double *, double *) noexcept nogil

include "_kernels_table.pxi"  # the tables and their functions: csrc/bindings.py

cdef extern from "rae_kernels.h":
    const rae_isa RAE_ISAS[]
    const size_t RAE_N_ISAS
    const rae_isa *rae_find_isa(const char *name) noexcept nogil


cdef inline void update_by(Py_ssize_t solver, const rae_step *step, size_t n, const real *grad, real *first,
                           real *second, real *theta) noexcept nogil:
    """One update by the solver with that number, which is find_solver's."""
    if real is float:
        in_use.f32.solvers[solver].update(step, n, grad, first, second, theta)
    else:
        in_use.f64.solvers[solver].update(step, n, grad, first, second, theta)


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


cdef Py_ssize_t find_solver(str name) except -1
cdef rae_team *start_team(size_t members) noexcept nogil
cdef void end_team(rae_team *team) noexcept nogil
cdef size_t team_members(const rae_team *team) noexcept nogil
cdef void together(rae_team *team, void (*job)(void *, size_t, size_t) noexcept nogil, void *argument) noexcept nogil
