"""The only file that calls BLAS: row-major matrix products through scipy.linalg.cython_blas.

Sizes are Py_ssize_t outside and BLAS's own integer inside. Callers pass every size that comes from
a user through check_size once; what they compute from checked sizes fits by construction.
"""

from scipy.linalg.cython_blas cimport dgemm, dgemv, sgemm, sgemv

include "_blas_int.pxi"  # ctypedef of SciPy's blas_int, written by setup.py

cdef extern from "limits.h":
    const int INT_MAX

BLAS_INT_MAX = INT_MAX if sizeof(blas_int) == sizeof(int) else 2 ** 63 - 1


def check_size(n, what):
    """Raise ValueError if n does not fit BLAS's integer type; `what` names it in the message."""
    if n > BLAS_INT_MAX:
        raise ValueError(f"{what} is {n}, beyond the largest BLAS integer {BLAS_INT_MAX}; "
                         "split the data into smaller pieces")


cdef void gemm_rm(bint ta, bint tb, Py_ssize_t m, Py_ssize_t n, Py_ssize_t k,
                  const real *A, Py_ssize_t lda, const real *B, Py_ssize_t ldb,
                  double factor, bint accumulate, real *C, Py_ssize_t ldc) noexcept nogil:
    """C (m,n) = factor op(A) (m,k) op(B) (k,n), or C += ..., all row-major."""
    # BLAS is column-major: a row-major C is a column-major C.T = op(B).T op(A).T,
    # so the operands swap places and the flags go with them.
    cdef real alpha = <real>factor, beta = 1 if accumulate else 0
    cdef char flag_a = c'T' if ta else c'N'
    cdef char flag_b = c'T' if tb else c'N'
    cdef blas_int m_ = <blas_int>m, n_ = <blas_int>n, k_ = <blas_int>k
    cdef blas_int lda_ = <blas_int>lda, ldb_ = <blas_int>ldb, ldc_ = <blas_int>ldc
    cdef blas_int unit = 1
    # The casts only drop const: SciPy's signatures have none and cannot gain it (scipy#18377).
    if m == 1 and not ta:
        # One row: C = op(B).T A.T. A matrix-vector product skips GEMM's packing of B.
        flag_b = c'T' if tb else c'N'
        if tb:  # B is (n,k): column-major (k,n)
            m_ = <blas_int>k
            k_ = <blas_int>n
        else:   # B is (k,n): column-major (n,k)
            m_ = <blas_int>n
            k_ = <blas_int>k
        if real is float:
            sgemv(&flag_b, &m_, &k_, &alpha, <float *>B, &ldb_, <float *>A, &unit, &beta, C, &unit)
        else:
            dgemv(&flag_b, &m_, &k_, &alpha, <double *>B, &ldb_, <double *>A, &unit, &beta, C, &unit)
    elif real is float:
        sgemm(&flag_b, &flag_a, &n_, &m_, &k_, &alpha, <float *>B, &ldb_, <float *>A, &lda_,
              &beta, C, &ldc_)
    else:
        dgemm(&flag_b, &flag_a, &n_, &m_, &k_, &alpha, <double *>B, &ldb_, <double *>A, &lda_,
              &beta, C, &ldc_)


def gemm(const real[:, ::1] A not None, const real[:, ::1] B not None, real[:, ::1] C not None,
         bint ta=False, bint tb=False, bint accumulate=False):
    """C = op(A) op(B) (accumulate: C += ...) through BLAS, ta and tb transposing; for tests."""
    cdef Py_ssize_t m = A.shape[1] if ta else A.shape[0], k = A.shape[0] if ta else A.shape[1]
    cdef Py_ssize_t n = B.shape[0] if tb else B.shape[1]
    if (B.shape[1] if tb else B.shape[0]) != k or C.shape[0] != m or C.shape[1] != n:
        raise ValueError("op(A) (m,k), op(B) (k,n) and C (m,n) do not fit together")
    if min(m, n, k) == 0:
        raise ValueError("A and B must not be empty")
    check_size(max(m, n, k), "a matrix dimension")
    with nogil:
        gemm_rm(ta, tb, m, n, k, &A[0, 0], A.shape[1], &B[0, 0], B.shape[1], 1, accumulate, &C[0, 0], n)
