"""What is counted while a model learns.

Compiled, because it changes together with the parameters: no signal handler runs between an update and its entry here,
so an exception of one finds both or neither. Nor is memory needed for that entry: a loss that finds none waits.
"""


cdef class Record:
    """The counters and losses of a model's training.

    Attributes
    ----------
    n_iter : passes made, or calls of partial_fit
    n_updates : updates made since the solver's state was new
    n_steps : the length of the sequences seen, None if they differed
    loss_curve : list of the loss of each pass or call
    """

    def __cinit__(self, n_steps=None, Py_ssize_t n_iter=0, Py_ssize_t n_updates=0, loss_curve=()):
        self.n_steps, self.n_iter, self.n_updates = n_steps, n_iter, n_updates
        self.entered = list(loss_curve)

    @property
    def loss_curve(self):
        self.enter_waiting()
        return self.entered

    cdef int enter_waiting(self) except -1:
        """Enter the losses that wait. To be called before anything is changed: then there is room for those to come."""
        while self.n_waiting > 0:
            self.entered.append(self.waiting[0])
            self.waiting += 1
            self.n_waiting -= 1
        self.owner = None
        return 0

    def __reduce__(self):
        return Record, (self.n_steps, self.n_iter, self.n_updates, self.loss_curve)

    cdef void enter_update(self, double loss, object n_steps) noexcept:
        """Enter one update by sequences of that common length, or None."""
        self.late = loss
        self.waiting, self.n_waiting = &self.late, 1
        self.n_updates += 1
        self.n_iter += 1
        if self.n_steps is not n_steps and self.n_steps != n_steps:
            self.n_steps = None
        self.enter_what_can_be()

    cdef void enter_passes(self, const double *losses, object owner, Py_ssize_t passes, Py_ssize_t n_updates) noexcept:
        """Enter the passes that have ended, and the updates made in all; the losses are the owner's memory."""
        self.waiting, self.n_waiting, self.owner = losses, passes, owner
        self.n_iter += passes
        self.n_updates = n_updates
        self.enter_what_can_be()

    def enter_iteration(self, double loss):
        """Enter an iteration of a solver that counts each as a pass."""
        self.loss_curve.append(loss)
        self.n_iter += 1
        self.n_updates += 1

    cdef void enter_what_can_be(self) noexcept:
        try:
            self.enter_waiting()
        except MemoryError:
            pass
