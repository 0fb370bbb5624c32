"""Row-major BLAS for the drivers; see _blas.pyx."""

ctypedef fused real:
    float
    double

cdef void gemm_rm(bint ta, bint tb, Py_ssize_t m, Py_ssize_t n, Py_ssize_t k,
                  const real *A, Py_ssize_t lda, const real *B, Py_ssize_t ldb,
                  double factor, bint accumulate, real *C, Py_ssize_t ldc) noexcept nogil
