"""Class scores of codes, y = code W_hy + b_y, and the loss of their softmax against labels: of trees and of sequences.

The callers write weights and targets; a row of weight 0 has no label. Twins: reference.tree_loss, reference.label_loss.
"""

from libc.math cimport exp
from libc.string cimport memset

from rae_fast._cell cimport block, block_to_write, row_distance
from rae_fast._form cimport B_Y, W_HY
from rae_fast._kernels cimport column_sums, cross_entropy, sum_scratch
from rae_fast._products cimport multiply, set_factor, sum_over_rows, take_factor


cdef Head make_head(AnyForm form, Py_ssize_t code_size, bint own, bint squared, double dropout,
                    Py_ssize_t itemsize) noexcept:
    cdef Head head
    head.K, head.C, head.own, head.squared = form.n_classes, code_size, own, squared
    head.ld, head.ld_c = row_distance(form.n_classes, itemsize), row_distance(code_size, itemsize)
    head.dropout, head.update = dropout, 0
    return head


cdef int take_head(Workspace space, size_t item, Head *head) except -1:
    take_factor(space, head.C, head.K, item, head.own, &head.W_hy)
    take_factor(space, head.K, head.C if head.K else 0, item, head.own, &head.W_hy_T)
    return 0


cdef void set_head(const Layout *layout, const real *theta, Head *head) noexcept nogil:
    if head.K:
        set_factor(&head.W_hy, head.C, head.K, block(theta, layout, W_HY), head.C, True)
        set_factor(&head.W_hy_T, head.K, head.C, block(theta, layout, W_HY), head.C, False)


cdef int take_labelled(Workspace space, const Head *head, Py_ssize_t rows, size_t item, Labelled *x) except -1:
    """Memory for up to so many codes."""
    cdef Py_ssize_t dropped
    if head.K == 0:
        rows = 0
    x.y = space.take(rows * head.ld, item)
    x.target = space.take(rows * head.K, item)
    x.w = space.take(rows, item)
    dropped = rows if head.dropout > 0 else 0
    x.key = <uint64_t *>space.take(dropped, sizeof(uint64_t))
    x.mask = space.take(dropped * head.ld_c, item)
    x.seen = space.take(dropped * head.ld_c, item)
    x.back = space.take(dropped * head.ld_c, item)
    x.scratch = space.take(sum_scratch(head.K, head.C, rows, item) if rows and head.own else 0, item)
    if rows and space.base != NULL:
        memset(x.y, 0, rows * head.ld * item)
        memset(x.seen, 0, dropped * head.ld_c * item)
        memset(x.back, 0, dropped * head.ld_c * item)
    return 0


cdef void zero_head(const Head *head, const Layout *layout, real *grad) noexcept nogil:
    if head.K:
        memset(block_to_write(grad, layout, W_HY), 0, head.K * head.C * sizeof(real))
        memset(block_to_write(grad, layout, B_Y), 0, head.K * sizeof(real))


cdef inline uint64_t mixed(uint64_t x) noexcept nogil:
    """The finaliser of splitmix64 (Steele, Lea & Flood, OOPSLA 2014): every bit of x moves every bit of it."""
    x = (x ^ (x >> 30)) * <uint64_t>0xbf58476d1ce4e5b9
    x = (x ^ (x >> 27)) * <uint64_t>0x94d049bb133111eb
    return x ^ (x >> 31)


cdef void drop(const Head *head, const Labelled *x, Py_ssize_t rows, const real *codes, Py_ssize_t ld, real *mask,
               real *seen) noexcept nogil:
    """The codes with some numbers 0 and the others larger (Srivastava et al., JMLR 2014). Which follows from the number
    of the update, of the code, and of the place in it: neither threads nor an interruption change it."""
    cdef uint64_t start, limit = <uint64_t>(head.dropout * 4294967296.0), bits = 0
    cdef real kept = <real>(1 / (1 - head.dropout))
    cdef Py_ssize_t r, j, at
    for r in range(rows):
        start = mixed(head.update * <uint64_t>0x9e3779b97f4a7c15 + mixed(x.key[r] + 1))
        for j in range(head.C):
            if j % 2 == 0:
                bits = mixed(start + <uint64_t>0x9e3779b97f4a7c15 * <uint64_t>(j // 2 + 1))
            at = r * head.ld_c + j
            mask[at] = 0 if (bits & <uint64_t>0xffffffff) < limit else kept
            seen[at] = mask[at] * codes[r * ld + j]
            bits >>= 32


cdef double head_loss(const Head *head, const Labelled *x, const Layout *theta_at, const real *theta, Py_ssize_t rows,
                      const real *codes, Py_ssize_t ld_codes, real *dcodes, Py_ssize_t ld_dcodes,
                      const Layout *grad_at, real *grad) noexcept nogil:
    """The weighted loss of these codes; its gradient is added to dcodes, and to that of W_hy and b_y."""
    cdef Py_ssize_t C = head.C, K = head.K
    cdef real *y = <real *>x.y
    cdef const real *b = block(theta, theta_at, B_Y)
    cdef bint dropping = head.dropout > 0 and head.update > 0
    cdef real *back = dcodes
    cdef Py_ssize_t ld_back = ld_dcodes, r, j
    cdef double loss
    if dropping:
        drop(head, x, rows, codes, ld_codes, <real *>x.mask, <real *>x.seen)
        codes, ld_codes, back, ld_back = <const real *>x.seen, head.ld_c, <real *>x.back, head.ld_c
    # Y = H W_hy + b_y, loss, G    (rows,K) = (rows,C)(C,K)
    multiply(NULL, rows, K, C, codes, ld_codes, &head.W_hy, <const real *>NULL, 0, y, head.ld)
    if head.squared:
        loss = squared_loss(rows, K, <const real *>x.w, b, <const real *>x.target, y, head.ld)
    else:
        loss = cross_entropy(rows, K, <const real *>x.w, b, <const real *>x.target, K, y, head.ld)
    # dH += G W_hy'               (rows,C) = (rows,K)(K,C)
    multiply(NULL, rows, C, K, <const real *>y, head.ld, &head.W_hy_T, <const real *>(NULL if dropping else dcodes), ld_dcodes,
             back, ld_back)
    if dropping:
        for r in range(rows):
            for j in range(C):
                dcodes[r * ld_dcodes + j] += (<const real *>x.mask)[r * head.ld_c + j] * back[r * ld_back + j]
    sum_over_rows(NULL, head.own, K, C, rows, <const real *>y, head.ld, codes, ld_codes, 1, True, <real *>x.scratch,
                  block_to_write(grad, grad_at, W_HY), C)
    column_sums(rows, K, <const real *>y, head.ld, 1, True, block_to_write(grad, grad_at, B_Y))
    return loss


cdef double squared_loss(Py_ssize_t rows, Py_ssize_t K, const real *w, const real *b, const real *target, real *y,
                         Py_ssize_t ld) noexcept nogil:
    """sum of w 1/2 |softmax(y + b) - target|^2, and its gradient into y."""
    cdef Py_ssize_t r, k
    cdef double most, total, mean, e, loss = 0
    for r in range(rows):
        most = y[r * ld] + b[0]
        for k in range(1, K):
            most = max(most, <double>(y[r * ld + k] + b[k]))
        total = mean = 0
        for k in range(K):
            y[r * ld + k] = <real>exp(y[r * ld + k] + b[k] - most)
            total += y[r * ld + k]
        for k in range(K):
            y[r * ld + k] = <real>(y[r * ld + k] / total)
            e = y[r * ld + k] - target[r * K + k]
            loss += 0.5 * w[r] * e * e
            mean += y[r * ld + k] * e
        for k in range(K):
            e = y[r * ld + k] - target[r * K + k]
            y[r * ld + k] = <real>(w[r] * y[r * ld + k] * (e - mean))
    return loss
