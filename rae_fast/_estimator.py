"""The scikit-learn estimator contract, without importing scikit-learn.

scikit-learn recognises an estimator by its methods, so ours work in its pipelines and searches, and
a pickle travels between environments with and without it. Only __sklearn_tags__ and metadata routing, which nobody but
scikit-learn and its users call, import it.
"""

from __future__ import annotations

import copy
import difflib
import functools
import html
import inspect
import sys
from collections.abc import Callable
from typing import Any, Self

from rae_fast._messages import shown

_CONTAINERS = ("default", "pandas", "polars")
# The methods that take sample_weight.
_WEIGHTED = ("fit", "partial_fit", "score")


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

    # What set_output has chosen: empty for nothing, and replaced as a whole. The name is scikit-learn's, whose clone
    # looks for it.
    _sklearn_output_config: dict[str, str] = {}
    _metadata_request: Any

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Hyper-parameters by name, as given to the constructor.

        Parameters
        ----------
        deep : bool, default=True
            Whether also those of estimators among them, as ``name__parameter``.

        Returns
        -------
        dict of str to anything

        Examples
        --------
        >>> from rae_fast import RAE
        >>> RAE(n_hidden=4).get_params()["n_hidden"]
        4
        """
        found = {name: getattr(self, name) for name in constructor_parameters(type(self))}
        for name, value in list(found.items()) if deep else ():
            if isinstance(value, Estimator):
                found |= {f"{name}__{inner}": of_inner for inner, of_inner in value.get_params().items()}
        return found

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
        within: dict[str, dict[str, Any]] = {}
        for name in list(params):
            owner, _, inner = name.partition("__")
            if inner and owner in valid and isinstance(params.get(owner, getattr(self, owner)), Estimator):
                within.setdefault(owner, {})[inner] = params.pop(name)
            elif name not in valid:
                near = difflib.get_close_matches(str(name)[:100], valid, n=3, cutoff=0.5)
                raise ValueError(f"{type(self).__name__} has no parameter {shown(name)}; "
                                 + (f"did you mean {' or '.join(near)}? " if near else "")
                                 + "get_params() has them all")
        for owner, of_owner in within.items():
            params.get(owner, getattr(self, owner)).set_params(**of_owner)
        for name, value in params.items():
            setattr(self, name, value)
        return self

    def set_output(self, *, transform: str | None = None) -> Self:
        """Choose the container of `transform` and `fit_transform`, as scikit-learn's transformers do.

        Parameters
        ----------
        transform : {"default", "pandas", "polars"}, optional
            "default" gives arrays; None changes nothing. Without a choice here scikit-learn's own
            (``sklearn.set_config(transform_output=...)``) holds where it is loaded.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For another container.

        Examples
        --------
        >>> from rae_fast import RAE
        >>> RAE(n_hidden=4).set_output(transform="default")
        RAE(n_hidden=4)
        """
        if transform is not None:
            if transform not in _CONTAINERS:
                raise ValueError(f"transform must be one of {', '.join(map(repr, _CONTAINERS))} or None; got "
                                 f"{shown(transform)}")
            self._sklearn_output_config = {"transform": transform}
        return self

    def _in_output(self, rows: Any, names: Callable[[], Any]) -> Any:
        """Rows of codes in the container that was chosen; names: gives those of the columns."""
        chosen = self._sklearn_output_config.get("transform")
        if chosen is None:
            sklearn = sys.modules.get("sklearn")
            chosen = "default" if sklearn is None else sklearn.get_config()["transform_output"]
        if chosen == "default":
            return rows
        if chosen == "pandas":
            import pandas

            return pandas.DataFrame(rows, columns=names(), copy=False)
        import polars

        return polars.DataFrame(rows, schema=list(names()), orient="row")

    # ---- metadata routing: what scikit-learn's pipelines and searches may hand on ------------------

    def set_fit_request(self, *, sample_weight: bool | str | None = True) -> Self:
        """Say whether scikit-learn's metadata routing hands `sample_weight` to `fit`.

        Parameters
        ----------
        sample_weight : bool, str or None
            True hands it on, False does not, None raises where it is given, a string is the name that it
            is given by.

        Returns
        -------
        self

        Raises
        ------
        RuntimeError
            If routing is not enabled (``sklearn.set_config(enable_metadata_routing=True)``).
        ImportError
            Without scikit-learn.

        Examples
        --------
        >>> import sklearn
        >>> from rae_fast import RAE
        >>> with sklearn.config_context(enable_metadata_routing=True):
        ...     RAE(n_hidden=4).set_fit_request(sample_weight=True)
        RAE(n_hidden=4)
        """
        return self._set_request("fit", sample_weight)

    def set_partial_fit_request(self, *, sample_weight: bool | str | None = True) -> Self:
        """The same for `partial_fit`: see `set_fit_request`.

        Parameters
        ----------
        sample_weight : bool, str or None

        Returns
        -------
        self

        Raises
        ------
        RuntimeError, ImportError

        Examples
        --------
        See `set_fit_request`.
        """
        return self._set_request("partial_fit", sample_weight)

    def set_score_request(self, *, sample_weight: bool | str | None = True) -> Self:
        """The same for `score`: see `set_fit_request`.

        Parameters
        ----------
        sample_weight : bool, str or None

        Returns
        -------
        self

        Raises
        ------
        RuntimeError, ImportError

        Examples
        --------
        See `set_fit_request`.
        """
        return self._set_request("score", sample_weight)

    def _set_request(self, method: str, sample_weight: bool | str | None) -> Self:
        import sklearn

        if not sklearn.get_config()["enable_metadata_routing"]:
            raise RuntimeError(f"set_{method}_request is for scikit-learn's metadata routing; enable it with "
                               "sklearn.set_config(enable_metadata_routing=True)")
        requests = self.get_metadata_routing()
        getattr(requests, method).add_request(param="sample_weight", alias=sample_weight)
        # The name that scikit-learn's clone looks for.
        self._metadata_request = requests
        return self

    def get_metadata_routing(self) -> Any:
        """What metadata each method asks for, in scikit-learn's terms.

        Returns
        -------
        sklearn.utils.metadata_routing.MetadataRequest

        Raises
        ------
        ImportError
            Without scikit-learn.

        Examples
        --------
        >>> from rae_fast import RAE
        >>> RAE().get_metadata_routing().fit.requests
        {'sample_weight': None}
        """
        from sklearn.utils.metadata_routing import MetadataRequest

        if "_metadata_request" in self.__dict__:
            return copy.deepcopy(self._metadata_request)
        requests = MetadataRequest(owner=type(self).__name__)  # not the model: requests are copied into clones
        for method in _WEIGHTED:
            getattr(requests, method).add_request(param="sample_weight", alias=None)
        return requests

    def _repr_html_(self) -> str:
        """What notebooks show."""
        return f"<pre>{html.escape(repr(self))}</pre>"

    def __repr__(self) -> str:
        defaults = constructor_parameters(type(self))
        changed = [f"{name}={value!r}" for name, value in self.get_params(deep=False).items()
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
            input_tags=InputTags(two_d_array=True, three_d_array=True, sparse=True),
        )


def _same(a: Any, b: Any) -> bool:
    return type(a) is type(b) and bool(a == b)
