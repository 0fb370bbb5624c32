"""The contestants: rae_fast, the readable reference, and each rival at its best on the same work.

The work is one update of all parameters: forward, loss, exact gradient, plain SGD; stepwise objective,
linear decoder, B sequences of equal length, mean over the batch. Every contestant is a class with

    __init__(theta, X, n_hidden, threads)   theta as in layout.py, X (B, T, I)
    forms()                                 names of its ways to do the work; the fastest counts
    loss_and_grad(form)                     loss and gradient, flat like theta, at the theta it was given
    update(form, n, rate)                   n updates; each form goes on from where its last call ended
    parameters(form)                        theta as these updates left it, flat

For the cases of the defaults (unfolding objective, tanh decoder, Adam in the units of relative rates; lengths may
differ, and a code may have a size of its own) those that take part have a class with

    __init__(case, theta, X, lengths, scale, unit, threads)   X (B, T, I), 0 beyond lengths; scale: a number by name

and the same methods. Each has a module function `about()`: versions and settings that its speed depends on.
`loss_and_grad` comes before the first `update`. worker.py checks all of it against rae_fast.reference before anything
is timed.
"""

from importlib import import_module

MODULES = {
    "rae_fast": ("engine_peer", "Engine"),
    "reference": ("reference_peer", "Reference"),
    "NumPy": ("numpy_tuned", "TunedNumPy"),
    "JAX": ("jax_peer", "JaxPeer"),
    "Numba": ("numba_peer", "NumbaPeer"),
    "PyTensor": ("pytensor_peer", "PyTensorPeer"),
    "PyTorch": ("torch_peer", "TorchPeer"),
}
DEFAULTS = "defaults"
OF_DEFAULTS = {
    "rae_fast": ("engine_peer", "DefaultEngine"),
    "reference": ("reference_peer", "ReferenceDefaults"),
    "JAX": ("jax_defaults", "JaxDefaults"),
    "PyTorch": ("torch_defaults", "TorchDefaults"),
}
US = "rae_fast"
BASIC = ("NumPy", "reference")
RIVALS = ("NumPy", "JAX", "Numba", "PyTensor", "PyTorch")


def load(name, path=None):
    """The class of a contestant for a case's path, and its `about`; ImportError where its library is not installed."""
    module_name, class_name = (OF_DEFAULTS if path == DEFAULTS else MODULES)[name]
    module = import_module(f"peers.{module_name}")
    return getattr(module, class_name), module.about
