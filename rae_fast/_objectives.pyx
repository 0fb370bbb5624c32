"""The objectives by name, and the memory of the last small call for the next one."""

from rae_fast._batch cimport Batch
from rae_fast._cell cimport TEAM_WORK
from rae_fast._factored cimport OutputFactor
from rae_fast._form cimport AnyForm
from rae_fast._objective cimport Objective, rows_of_batches
from rae_fast._slots cimport most_named
from rae_fast._stepwise import Stepwise
from rae_fast._tree import TreeObjective
from rae_fast._unfold import Unfold

NAMES = ("stepwise", "unfold")
cdef dict _classes = {"stepwise": Stepwise, "unfold": Unfold, "tree": TreeObjective}

# Memory up to this size is kept: to set it up takes longer than the gradient of a small model.
cdef enum:
    SPARE_BYTES = 1048576

cdef Objective _spare = None


def objective_of(AnyForm form not None, Batch batch not None, sample_weight=None, Py_ssize_t batch_size=0,
                 max_memory=2**30, Py_ssize_t n_jobs=1, double unit=1, bint by_rows=False, OutputFactor outputs=None):
    """The form's objective on a batch, for gradients of up to batch_size of its sequences at a time (0: of all).

    sample_weight: one each, of the batch's element type; None for 1 / (sequences at a time). max_memory: bytes of
    hidden states kept; of longer sequences, those of a span are computed again. n_jobs: threads, which change no bit.
    unit: that of the outputs' residuals. by_rows: whether gradients have only those rows of W_xh that their sequences
    name; outputs: the factors in which the output weights are kept; both for sparse rows, and for updates alone.
    """
    cdef Py_ssize_t named, most = batch_size if batch_size > 0 else batch.n_sequences
    if batch_size < 0 or most > batch.n_sequences or batch.n_sequences < 1:
        raise ValueError(f"batch_size is {batch_size}, of {batch.n_sequences} sequences")
    if n_jobs < 1 or max_memory < 0:
        raise ValueError(f"n_jobs must be at least 1 and max_memory at least 0; got {n_jobs} and {max_memory}")
    if form.engine not in _classes:
        raise ValueError(f"objective must be one of {', '.join(map(repr, NAMES))}; got {form.objective!r}")
    cdef Objective objective = _classes[form.engine]()
    check_rows(form, batch, by_rows, outputs)
    named = min(most_named(&batch.source, batch.n_sequences, most), form.n_inputs) if by_rows else 0
    objective.prepare(form, batch.single, batch.source.column != NULL, batch.longest, rows_of_batches(batch, most), most,
                      max_memory, n_jobs, named, by_rows, outputs)
    objective.take(batch, sample_weight, unit)
    return objective


cdef int check_rows(AnyForm form, Batch batch, bint by_rows, OutputFactor outputs) except -1:
    if by_rows and (batch.source.column == NULL or form.tied):
        raise ValueError("gradients by rows are for sparse rows, and models that are not tied")
    if outputs is not None and not (by_rows and outputs.single == batch.single and outputs.form.n_inputs == form.n_inputs
                                    and outputs.form.n_hidden == form.n_hidden and not form.softmax):
        raise ValueError("the factors of outputs are of another form or element type, or without gradients by rows")
    return 0


cdef Py_ssize_t worthwhile(Py_ssize_t n_jobs, AnyForm form, Py_ssize_t rows) noexcept:
    """The threads for one gradient of so many rows: one if the others would cost more than they save."""
    cdef double K = form.n_hidden + form.n_inputs
    return n_jobs if n_jobs == 1 or 12.0 * rows * form.n_hidden * K >= TEAM_WORK else 1


def borrow(AnyForm form not None, Batch batch not None, sample_weight, max_memory, Py_ssize_t n_jobs, double unit=1,
           bint by_rows=False, OutputFactor outputs=None):
    """objective_of a whole batch for a single call, in the memory of the call before if that fits; see give_back."""
    global _spare
    cdef Objective objective = _spare
    cdef Py_ssize_t named = 0
    if by_rows:
        named = min(most_named(&batch.source, batch.n_sequences, batch.n_sequences), form.n_inputs)
    _spare = None
    n_jobs = worthwhile(n_jobs, form, batch.n_rows)
    if objective is None or not objective.fits(form, batch.single, batch.source.column != NULL, batch.longest,
                                               batch.n_rows, batch.n_sequences, max_memory, n_jobs, named, by_rows, outputs):
        return objective_of(form, batch, sample_weight, 0, max_memory, n_jobs, unit, by_rows, outputs)
    objective.take(batch, sample_weight, unit)
    return objective


def give_back(Objective objective not None):
    """Keep its memory for the next call, unless that is large, or threads belong to it."""
    global _spare
    objective.take(None, None)
    if objective.team == NULL and objective.space.size <= SPARE_BYTES:
        _spare = objective


def spare_isa():
    """The instruction set that the memory at hand was set up for; None if there is none."""
    return None if _spare is None else _spare.isa.name.decode()
