"""The scikit-learn estimator contract, without importing scikit-learn.

scikit-learn recognises an estimator by its methods, so ours work in its pipelines and searches, and
a pickle travels between environments with and without it. Only __sklearn_tags__, which nobody but
scikit-learn calls, imports it.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from typing import Any, Self

from rae_fast._messages import shown


class NotFittedError(ValueError, AttributeError):
    """The model has no parameters yet: call fit or partial_fit first."""


def not_fitted(message: str) -> Exception:
    """A NotFittedError, scikit-learn's own where that is loaded, so that its users can catch it."""
    exceptions = sys.modules.get("sklearn.exceptions")
    error: type[Exception] = NotFittedError if exceptions is None else exceptions.NotFittedError
    return error(message)


def constructor_parameters(cls: type) -> dict[str, Any]:
    """The parameters of a class's constructor, and their defaults."""
    return _parameters(cls.__init__)  # type: ignore[misc]


@functools.cache
def _parameters(constructor: Callable[..., None]) -> dict[str, Any]:
    parameters = list(inspect.signature(constructor).parameters.values())[1:]  # without self
    return {p.name: p.default for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}


class Estimator:
    """get_params, set_params, repr and the hooks that scikit-learn looks for.

    The parameters are those of the class's own constructor: a subclass that has another has its parameters.
    """

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Hyper-parameters by name, as given to the constructor.

        Parameters
        ----------
        deep : ignored
            There are no estimators within this one.

        Returns
        -------
        dict of str to anything

        Examples
        --------
        >>> from rae_fast import RAE
        >>> RAE(n_hidden=4).get_params()["n_hidden"]
        4
        """
        return {name: getattr(self, name) for name in constructor_parameters(type(self))}

    def set_params(self, **params: Any) -> Self:
        """Set hyper-parameters by name; they are checked by the next fit.

        Parameters
        ----------
        **params
            The hyper-parameters.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For a name that is not a hyper-parameter; then none is set.

        Examples
        --------
        >>> from rae_fast import RAE
        >>> RAE(n_hidden=4).set_params(solver="sgd", learning_rate=0.1)
        RAE(n_hidden=4, solver='sgd', learning_rate=0.1)
        """
        valid = constructor_parameters(type(self))
        for name in params:
            if name not in valid:
                raise ValueError(f"{type(self).__name__} has no parameter {shown(name)}; "
                                 f"its parameters are {', '.join(valid)}")
        for name, value in params.items():
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        defaults = constructor_parameters(type(self))
        changed = [f"{name}={value!r}" for name, value in self.get_params().items()
                   if not _same(value, defaults[name])]
        return f"{type(self).__name__}({', '.join(changed)})"

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import InputTags, Tags, TargetTags, TransformerTags

        return Tags(
            estimator_type=None,
            target_tags=TargetTags(required=False),
            transformer_tags=TransformerTags(preserves_dtype=["float64", "float32"]),
            classifier_tags=None,
            regressor_tags=None,
            input_tags=InputTags(two_d_array=True, three_d_array=True),
        )


def _same(a: Any, b: Any) -> bool:
    return type(a) is type(b) and bool(a == b)
