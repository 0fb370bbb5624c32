"""What a model of trees computes, and where its parameters lie.

The mathematics: docs/design.md, "Trees". The table of the blocks: _form.pyx.
"""

from rae_fast._form cimport check_dropout

TREE_OBJECTIVES = ("stepwise", "unfold", "unfold_all")
TREES = ("given", "greedy", "left", "right", "balanced")
TREE_OUTPUTS, LABEL_LOSSES, REDUCTIONS = ("code", "linear", "softmax"), ("cross_entropy", "squared"), ("mean", "sum")


cdef class TreeForm(AnyForm):
    """What a model of trees computes: its sizes and the choices that its mathematics depends on.

    Attributes
    ----------
    n_inputs, n_hidden : int; n_classes : int, 0 without labels
    embeds : whether the code of a leaf is its row times W_xh, else the row itself
    decoder : "linear" or "tanh"
    output : how leaves are given back: "code", "linear" or "softmax"
    normalize_codes, normalize_reconstruction : whether codes of inner nodes, and decoded ones, have length 1
    tree : one of TREES
    objective : "stepwise", every node gives back its children; "unfold", the root all leaves; "unfold_all", every inner
        node the leaves below it
    alpha : the part of reconstruction in the loss; the rest is that of labels
    hidden_weight : of inner nodes as children; word_weights : whether children count by the words below them
    reduction : "mean" or "sum" of an item's inner nodes
    stop_targets : whether codes that are to be given back are taken as fixed
    label_loss : "cross_entropy" or "squared"; leaf_weight, inner_weight, root_weight : of nodes in it
    FIXED : tuple of str
        Those of the attributes that are the model's own and stay when it goes on learning; files keep them.
    """

    FIXED = ("n_inputs", "n_hidden", "n_classes", "embeds", "decoder", "output", "normalize_codes",
             "normalize_reconstruction", "tree")
    # What the loss depends on besides, in the order of the constructor.
    OF_LOSS = ("objective", "alpha", "hidden_weight", "word_weights", "reduction", "stop_targets", "label_loss", "leaf_weight",
               "inner_weight", "root_weight", "dropout")

    def __cinit__(self, Py_ssize_t n_inputs, Py_ssize_t n_hidden, Py_ssize_t n_classes=0, bint embeds=True,
                  str decoder="tanh", str output="code", bint normalize_codes=False, bint normalize_reconstruction=False,
                  str tree="given", str objective="stepwise", double alpha=1.0, double hidden_weight=1.0, bint word_weights=False,
                  str reduction="mean", bint stop_targets=False, str label_loss="cross_entropy", double leaf_weight=1.0,
                  double inner_weight=1.0, double root_weight=1.0, double dropout=0.0):
        if n_inputs < 1 or n_hidden < 1 or n_classes < 0 or n_classes == 1:
            raise ValueError("n_inputs and n_hidden must be at least 1, and n_classes 0 or at least 2")
        if not embeds and n_inputs != n_hidden:
            raise ValueError(f"rows of {n_inputs} numbers are no codes of n_hidden={n_hidden}; let them be embedded")
        for what, value, known in (("decoder", decoder, ("linear", "tanh")), ("output", output, TREE_OUTPUTS),
                                   ("tree", tree, TREES), ("label_loss", label_loss, LABEL_LOSSES),
                                   ("reduction", reduction, REDUCTIONS), ("objective", objective, TREE_OBJECTIVES)):
            if value not in known:
                raise ValueError(f"{what} can be one of {known}, not {value!r}")
        if not 0 <= alpha <= 1 or not min(hidden_weight, leaf_weight, inner_weight, root_weight) >= 0:
            raise ValueError("alpha lies between 0 and 1, and weights are at least 0")
        self.n_inputs, self.n_hidden, self.n_classes, self.embeds = n_inputs, n_hidden, n_classes, embeds
        self.objective, self.decoder, self.output, self.tree = objective, decoder, output, tree
        self.normalize_codes, self.normalize_reconstruction = normalize_codes, normalize_reconstruction
        self.dropout = check_dropout(dropout) if n_classes else 0
        self.alpha = alpha if n_classes else 1  # without labels all is reconstruction
        self.hidden_weight, self.word_weights, self.reduction = hidden_weight, word_weights, reduction
        self.stop_targets, self.label_loss = stop_targets, label_loss
        self.leaf_weight, self.inner_weight, self.root_weight = leaf_weight, inner_weight, root_weight
        self.tanh_decoder, self.softmax = decoder == "tanh", output == "softmax"
        self.categorical = self.softmax
        self.builder = TREES.index(tree)
        self.leaf = AS_CODE if output == "code" else AS_SYMBOL if self.softmax else AS_OUTPUT if embeds else AS_VECTOR
        outputs = n_inputs if self.leaf in (AS_SYMBOL, AS_OUTPUT) else 0
        self.lay_out({"1": 1, "H": n_hidden, "S": 0, "R": n_hidden, "E": n_inputs if embeds else 0, "O": outputs, "C": 0,
                      "Hc": 0, "K": n_classes, "Y": n_hidden})

    def choices(self):
        return tuple([getattr(self, name) for name in self.FIXED + self.OF_LOSS])

    @property
    def engine(self):
        return "tree"

    @property
    def code_size(self):
        return self.n_hidden

    def under(self, settings):
        """The same model under the objective of these settings."""
        fixed = {name: getattr(self, name) for name in self.FIXED}
        return TreeForm(**fixed, **{name: getattr(settings, name) for name in self.OF_LOSS})

    def but(self, **changes):
        """The same with some choices changed."""
        return TreeForm(**{name: getattr(self, name) for name in self.FIXED + self.OF_LOSS} | changes)
