"""The scikit-learn estimator contract, without importing scikit-learn.

scikit-learn recognises an estimator by its methods, so RAE works in its pipelines and searches, and
a pickle travels between environments with and without it. Only __sklearn_tags__, which nobody but
scikit-learn calls, imports it.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from typing import Any, Self


class NotFittedError(ValueError, AttributeError):
    """The model has no parameters yet: call fit or partial_fit first."""


def not_fitted(message: str) -> Exception:
    """A NotFittedError, scikit-learn's own where that is loaded, so that its users can catch it."""
    exceptions = sys.modules.get("sklearn.exceptions")
    error: type[Exception] = NotFittedError if exceptions is None else exceptions.NotFittedError
    return error(message)


@functools.cache
def _defaults_of(constructor: Callable[..., None]) -> dict[str, Any]:
    parameters = inspect.signature(constructor).parameters
    return {name: p.default for name, p in parameters.items() if name != "self"}


class Estimator:
    """get_params, set_params, repr and the hooks that scikit-learn looks for."""

    @classmethod
    def _defaults(cls) -> dict[str, Any]:
        return _defaults_of(cls.__init__)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Hyper-parameters by name, as given to the constructor. `deep` has no effect."""
        return {name: getattr(self, name) for name in self._defaults()}

    def set_params(self, **params: Any) -> Self:
        """Set hyper-parameters by name; they are checked by the next fit.

        Raises
        ------
        ValueError
            For a name that is not a hyper-parameter; then none is set.
        """
        valid = self._defaults()
        for name in params:
            if name not in valid:
                raise ValueError(f"{type(self).__name__} has no parameter {name!r}; "
                                 f"its parameters are {', '.join(valid)}")
        for name, value in params.items():
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        changed = [f"{name}={value!r}" for name, value in self.get_params().items()
                   if not _same(value, self._defaults()[name])]
        return f"{type(self).__name__}({', '.join(changed)})"

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "theta_")

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
