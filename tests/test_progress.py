"""Showing progress never ends a fit."""

import builtins
import io
import sys

import numpy as np
import pytest

from rae_fast import RAE

X = np.random.default_rng(0).standard_normal((8, 5, 3))


class Failing(io.StringIO):
    """A stream that fails from its n-th write on, in a way of choice."""

    def __init__(self, error, after=0):
        super().__init__()
        self.error, self.after = error, after

    def write(self, text):
        self.after -= 1
        if self.after < 0:
            raise self.error
        return super().write(text)


def closed():
    stream = io.StringIO()
    stream.close()
    return stream


STREAMS = {
    "none": lambda: None, "closed": closed,
    "broken pipe": lambda: Failing(BrokenPipeError(32, "Broken pipe")),
    "full": lambda: Failing(OSError(28, "No space left on device")),
    "full later": lambda: Failing(OSError(28, "No space left on device"), after=2),
    "no text": lambda: Failing(UnicodeEncodeError("ascii", "█", 0, 1, "not in range")),
    "no stream": lambda: 5, "strange": lambda: Failing(RuntimeError("of its own")),
}


@pytest.mark.parametrize("with_tqdm", [True, False])
@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_that_fails_ends_no_fit(name, with_tqdm, monkeypatch):
    if with_tqdm:
        pytest.importorskip("tqdm", reason="tqdm is not installed")
        monkeypatch.setenv("TQDM_MININTERVAL", "0")
    else:
        real = builtins.__import__

        def without(module, *args, **kwargs):
            if module.split(".")[0] == "tqdm":
                raise ImportError(module)
            return real(module, *args, **kwargs)

        monkeypatch.setattr(builtins, "__import__", without)
        monkeypatch.setattr("rae_fast._progress.SECONDS", 0.0)
    params = {"max_iter": 40, "random_state": 0, "report_every": 1}
    silent = RAE(3, **params).fit(X)
    stream = STREAMS[name]()
    monkeypatch.setattr(sys, "stderr", stream)
    shown = RAE(3, verbose=1, callbacks=lambda _: None, **params).fit(X)
    monkeypatch.undo()
    np.testing.assert_array_equal(shown.theta_, silent.theta_)
    assert shown.n_iter_ == 40


@pytest.mark.parametrize("setting, value", [("TQDM_DISABLE", "1"), ("TQDM_MININTERVAL", "nonsense"),
                                            ("TQDM_ASCII", "True"), ("TQDM_NCOLS", "20")])
def test_a_user_s_settings_of_tqdm_are_his(setting, value, monkeypatch, capsys):
    pytest.importorskip("tqdm", reason="tqdm is not installed")
    monkeypatch.setenv(setting, value)
    for module in [module for module in sys.modules if module.split(".")[0] == "tqdm"]:
        monkeypatch.delitem(sys.modules, module)  # it reads its settings when it is imported
    model = RAE(3, verbose=1, max_iter=5, random_state=0).fit(X)
    assert model.n_iter_ == 5
    shown = capsys.readouterr().err
    assert (shown == "") == (setting == "TQDM_DISABLE" or value == "nonsense")


def test_an_exception_of_the_fit_itself_is_the_one_that_comes_out(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Failing(OSError("full")))

    def stop(_):
        raise LookupError("from the callback")

    with pytest.raises(LookupError, match="from the callback"):
        RAE(3, verbose=1, max_iter=5, random_state=0, callbacks=stop, report_every=1).fit(X)
