"""What a model minimises on a batch, and the gradient of it.

An Objective owns a batch, its weights, memory and threads; how the loss of an item comes about is its subclasses'
affair (_stepwise.pyx, _unfold.pyx), which implement `gradient` for any of the batch's items. Whoever minimises it, the
loop of _training.pyx or L-BFGS, asks for nothing else. A gradient is a vector of blocks, laid out as `layout` says.

A batch is cut into *parts* by its shape alone; a team of threads shares them, and their gradients are added up in
order, so the number of threads changes no bit.
"""

from libc.math cimport frexp

from rae_fast._buckets cimport count, most_rows
from rae_fast._form cimport AnyForm, data_of, is_array, is_single, new_blocks, same_places
from rae_fast._kernels cimport axpy, end_team, in_use, together
from rae_fast._pulse cimport new_pulse

# A part of a batch has enough rows that adding up the parts' gradients costs little: docs/performance.md, "Threads".
cdef enum:
    MOST_PARTS = 16
    PART_ROWS = 400
    PART_UNIT = 8     # parts begin at multiples of the rows of a tile


cdef Py_ssize_t part_count(Py_ssize_t n, Py_ssize_t rows, Py_ssize_t least) noexcept nogil:
    """Into how many parts of at least `least` items a batch of n items with so many rows is cut."""
    return max(<Py_ssize_t>1, min(min(n // least, rows // PART_ROWS), <Py_ssize_t>MOST_PARTS))


cdef Py_ssize_t cut_into_parts(Py_ssize_t n, const Py_ssize_t *order, const Py_ssize_t *offsets, Py_ssize_t least,
                               Part *parts) noexcept nogil:
    """Cut the items into parts of nearly as many rows each; returns how many parts."""
    cdef Py_ssize_t i, rows = 0, total = 0, wanted, last = 0
    for i in range(n):
        total += offsets[order[i] + 1] - offsets[order[i]]
    wanted = part_count(n, total, least)
    parts[0].first = 0
    for i in range(n):
        if i % PART_UNIT == 0 and last + 1 < wanted and rows * wanted >= total * (last + 1):
            parts[last].n = i - parts[last].first
            last += 1
            parts[last].first = i
        rows += offsets[order[i] + 1] - offsets[order[i]]
    parts[last].n = n - parts[last].first
    return last + 1


cdef struct Work:
    PartGradient function
    void *job
    Part *parts
    Py_ssize_t n


cdef void some_parts(void *argument, size_t member, size_t members) noexcept nogil:
    """The parts of one member of the team."""
    cdef Work *work = <Work *>argument
    cdef Py_ssize_t p = member
    while p < work.n:
        # A raised exception stays set for gradient_of_parts, where it belongs.
        work.parts[p].failed = work.function(work.job, member, &work.parts[p]) != 0
        if work.parts[p].failed:
            return
        p += members


cdef struct Addition:
    size_t n
    size_t parts
    void *total                # (n)
    const void *partial        # (parts, n)
    bint single


cdef void add_range(void *argument, size_t member, size_t members) noexcept nogil:
    """One member's range of total += sum of the partial gradients, in order."""
    cdef Addition *x = <Addition *>argument
    cdef size_t start = x.n * member // members, end = x.n * (member + 1) // members, p
    for p in range(x.parts):
        if x.single:
            axpy(end - start, 1.0, <const float *>x.partial + p * x.n + start, <float *>x.total + start)
        else:
            axpy(end - start, 1.0, <const double *>x.partial + p * x.n + start, <double *>x.total + start)


cdef int gradient_of_parts(Objective objective, PartGradient function, void *job, Py_ssize_t n, void *grad,
                           double *loss) except -1 nogil:
    """Loss and gradient of a batch of n parts: function's of each, added up in order.

    A single part is computed on the calling thread, for its products may be shared by the team.
    """
    cdef Work work
    cdef Addition addition
    cdef Py_ssize_t p, bytes = objective.layout.size * objective.item
    for p in range(n):
        objective.parts[p].grad = grad if p == 0 else <char *>objective.partial + (p - 1) * bytes
        objective.parts[p].failed = False
        objective.parts[p].number = p
    work.function, work.job, work.parts, work.n = function, job, objective.parts, n
    if n == 1:
        some_parts(&work, 0, 1)
    else:
        together(objective.team, some_parts, &work)
    loss[0] = 0
    for p in range(n):
        if objective.parts[p].failed:
            return -1
        loss[0] += objective.parts[p].loss
    if n > 1:
        addition.n, addition.parts, addition.single = objective.layout.size, n - 1, objective.single
        addition.total, addition.partial = grad, objective.partial
        together(objective.team, add_range, &addition)
    return 0


cdef class Objective:
    """sum_n w_n E(X_n) over the items of a batch, for a model of some form.

    Made by _objectives.objective_of, or for a single call by `borrow` there.

    Squared errors of outputs are measured in `unit`, a power of two: losses and gradients are those of the objective
    over unit^2, so that of data near 1e-21 no gradient underflows although theta is in the data's units. That changes
    no other bit.
    """

    def __cinit__(self):
        self.unit = 1

    def __dealloc__(self):
        end_team(self.team)

    def end_team(self):
        """Its threads go home; from here on the caller's own does everything."""
        end_team(self.team)
        self.team = NULL

    cdef int gradient(self, const void *theta, Py_ssize_t *chosen, Py_ssize_t n, void *grad, Descent *descent,
                      double *loss) except -1 nogil:
        """Loss and gradient of the items chosen[0:n], which get reordered.

        Without weights each of them weighs 1 / n. descent: if not NULL, theta may be updated at once (`made` then says
        so, and grad holds nothing) where that saves writing the gradient and reading it once more.
        """
        with gil:
            raise NotImplementedError

    cdef Pulse *pulse(self) noexcept nogil:
        """That of the calling thread."""
        return NULL

    cdef int prepare(self, AnyForm form, bint single, bint sparse, Py_ssize_t longest, Py_ssize_t most_rows,
                     Py_ssize_t most, max_memory, Py_ssize_t n_jobs, Py_ssize_t most_named=0, bint by_rows=False,
                     OutputFactor outputs=None) except -1:
        """Memory and threads for up to `most` items with up to `most_rows` rows, the longest of them `longest`."""
        end_team(self.team)
        self.team = NULL
        self.form, self.single, self.item = form, single, sizeof(float) if single else sizeof(double)
        self.sparse, self.most_named, self.by_rows, self.outputs = sparse, most_named, by_rows, outputs
        self.longest, self.most_rows, self.most = longest, most_rows, most
        self.max_memory, self.n_jobs = max_memory, n_jobs
        self.isa = NULL  # fits nothing until a subclass has done the rest, and says so
        return 0

    cdef bint fits(self, AnyForm form, bint single, bint sparse, Py_ssize_t longest, Py_ssize_t most_rows, Py_ssize_t most,
                   max_memory, Py_ssize_t n_jobs, Py_ssize_t most_named=0, bint by_rows=False,
                   OutputFactor outputs=None) except -1:
        """Whether it was prepared for just that."""
        return (self.single == single and self.sparse == sparse and self.longest == longest and self.most_rows == most_rows
                and self.most == most and self.n_jobs == n_jobs and self.isa == in_use
                and self.most_named == most_named and self.by_rows == by_rows and self.outputs is outputs
                and self.max_memory == max_memory and (self.form is form or self.form == form))

    cdef int refresh(self) except -1:
        """Prepare again if other kernels are in use now: their vectors have another length."""
        if not self.fits(self.form, self.single, self.sparse, self.longest, self.most_rows, self.most, self.max_memory,
                         self.n_jobs, self.most_named, self.by_rows, self.outputs):
            self.prepare(self.form, self.single, self.sparse, self.longest, self.most_rows, self.most, self.max_memory,
                         self.n_jobs, self.most_named, self.by_rows, self.outputs)
        return 0

    cdef int take_common(self, Workspace space) except -1:
        """Memory that every objective needs."""
        self.order = <Py_ssize_t *>space.take(self.most, sizeof(Py_ssize_t))
        self.grad = space.take(self.layout.size, self.item)
        self.step = space.take(self.layout.size, self.item)
        self.partial = space.take((self.most_parts - 1) * self.layout.size, self.item)
        return 0

    cdef int take(self, Batch batch, sample_weight, double unit=1) except -1:
        """Turn to this batch, for which the memory must do; None gives back the last one."""
        cdef int exponent
        if batch is not None and (batch.n_features != self.form.n_inputs or batch.single != self.single
                                  or (batch.source.column != NULL) != self.sparse):
            raise ValueError(f"a batch with {batch.n_features} features does not fit n_inputs={self.form.n_inputs}, "
                             "or is of another element type, or sparse where memory is for others")
        if batch is not None and batch.source.missing != NULL and self.form.categorical:
            raise ValueError("numbers can be missing only where outputs are judged by squared errors")
        if sample_weight is not None and not is_array(sample_weight, self.single, 1, batch.n_sequences):
            raise ValueError("one weight per sequence is needed, of the batch's element type")
        if not (unit > 0 and frexp(unit, &exponent) == 0.5):
            raise ValueError(f"the unit of residuals must be a power of two; got {unit}")
        if unit != 1 and (self.form.categorical or not self.has_unit or self.form.n_classes):
            raise ValueError("only a loss of squared errors of outputs has a unit")
        self.batch, self.sample_weight, self.unit = batch, sample_weight, unit
        self.weights = NULL if sample_weight is None else data_of(sample_weight)
        return 0

    def new_gradient(self):
        """Blocks for loss_and_grad to write to."""
        if self.form is None:
            raise ValueError("the objective was not made by objective_of")
        return new_blocks(self.form, self.single)

    def loss_and_grad(self, theta not None, Blocks grad not None, Py_ssize_t update=0):
        """The loss of the whole batch over unit^2; its gradient is written to grad, blocks of the form. update: the number
        of the update for which that is, which says what dropout drops; 0 for none."""
        cdef double loss = 0
        cdef Py_ssize_t n
        cdef const void *parameters = data_of(theta)
        if self.batch is None:
            raise ValueError("the objective has no batch")
        n = self.batch.n_sequences
        if is_single(theta, self.form) != self.single or grad.single != self.single:
            raise ValueError("theta and the gradient must be of the batch's element type")
        if not same_places(&grad.layout, &self.layout) or self.most < n:
            raise ValueError("the gradient or the memory does not fit the form or the batch")
        if not grad.memory.flags.writeable:
            raise ValueError("the gradient is read-only")
        count(n, self.order)
        self.pulse()[0] = new_pulse(0)
        self.update = update
        with nogil:
            self.gradient(parameters, self.order, n, grad.data, NULL, &loss)
        return loss


cdef Py_ssize_t rows_of_batches(Batch batch, Py_ssize_t most) except -1:
    """The most rows that any `most` of the batch's sequences can have."""
    return batch.longest * most if batch.equal else most_rows(batch.n_sequences, batch.source.offset, most)
