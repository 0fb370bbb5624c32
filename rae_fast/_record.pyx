"""What is counted while a model learns.

Compiled, because it changes together with the parameters: no signal handler runs between an update and its entry here,
so an exception of one finds both or neither.
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
        self.loss_curve = list(loss_curve)

    def __reduce__(self):
        return Record, (self.n_steps, self.n_iter, self.n_updates, self.loss_curve)

    cdef int enter_update(self, double loss, object n_steps) except -1:
        """Enter one update by sequences of that common length, or None."""
        self.loss_curve.append(loss)
        self.n_updates += 1
        self.n_iter += 1
        if self.n_steps is not n_steps and self.n_steps != n_steps:
            self.n_steps = None
        return 0

    cdef int enter_passes(self, const double *losses, Py_ssize_t passes, Py_ssize_t n_updates) except -1:
        """Enter the passes that have ended, and the updates made in all."""
        cdef Py_ssize_t i
        for i in range(passes):
            self.loss_curve.append(losses[i])
        self.n_iter += passes
        self.n_updates = n_updates
        return 0

    def enter_iteration(self, double loss):
        """Enter an iteration of a solver that counts each as a pass."""
        self.loss_curve.append(loss)
        self.n_iter += 1
        self.n_updates += 1
