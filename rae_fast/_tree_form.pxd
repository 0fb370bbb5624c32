"""What a model of trees computes: see _tree_form.pyx."""

from rae_fast._form cimport AnyForm

cdef enum:                 # how trees come about
    GIVEN
    GREEDY
    LEFT
    RIGHT
    BALANCED

cdef enum:                 # how a leaf is given back
    AS_CODE                # its code, through the decoder's f, as inner nodes are
    AS_VECTOR              # its code, which is the row itself, linearly
    AS_OUTPUT              # the row, by linear outputs of the decoded code
    AS_SYMBOL              # the row, by softmax outputs of it

cdef class TreeForm(AnyForm):
    cdef readonly str tree, label_loss, reduction
    cdef readonly bint embeds, normalize_codes, normalize_reconstruction, word_weights, stop_targets
    cdef readonly double hidden_weight, alpha, leaf_weight, inner_weight, root_weight
    cdef int builder, leaf
