"""Files made of bytes: RAE.load gives a model that works, or one sentence.

The first byte of an input says how the rest becomes a file: as it is; as a header and what follows it, without the
header's length; or as a JSON object of which all that must agree is made to agree, so that what is deep inside is
reached too.
"""

import json
import math
import random
import shutil
import sys
from pathlib import Path

import numpy as np
from drive import Bytes, run, sentence

from rae_fast import RAE

RAW, HEADER, JSON = 0, 1, 2
WATCHED = ["rae_fast.persistence", "rae_fast.model_file", "rae_fast.hyperparameters", "rae_fast.learned",
           "rae_fast.solvers", "rae_fast.checkpoint"]
SIZES = {"F64": 8, "F32": 4, "I64": 8}
INNER = ("params", "form", "record")  # of the metadata: JSON in a string
FOLDER = Path()  # where files are written


def file_of(data):
    """The file that an input stands for."""
    kind, data = Bytes(data[:1]).below(3), data[1:]
    if kind == RAW:
        return data
    head, _, arrays = data.partition(b"\xff")
    if kind == JSON:
        try:
            head, arrays = agreeing(json.loads(head), arrays)
        except (ValueError, RecursionError, AttributeError, TypeError, KeyError, OverflowError):
            pass  # then as a header
    return len(head).to_bytes(8, "little") + head + arrays


def agreeing(header, arrays):
    """The header's text, with offsets as the shapes say and the inner objects as strings; arrays of that size."""
    end = 0
    for name, entry in header.items():
        if name != "__metadata__":
            if not all(type(n) is int for n in entry["shape"]):
                raise ValueError("not to be made to agree")
            size = math.prod(entry["shape"][:9]) * SIZES.get(entry["dtype"], 8)
            entry["data_offsets"] = [end, end + size]
            end += size
    for name in INNER:
        if not isinstance(header["__metadata__"][name], str):
            header["__metadata__"][name] = json.dumps(header["__metadata__"][name])
    if not 0 <= end <= 1 << 16:
        raise ValueError("too large to be made")
    return json.dumps(header).encode(), (arrays * (end // max(1, len(arrays)) + 1))[:end].ljust(end, b"\0")


def check(data):
    path = FOLDER / "model"
    path.write_bytes(file_of(data))
    try:
        model = RAE.load(path)
    except ValueError as error:
        assert sentence(error).startswith(f"{path} is not a whole rae_fast model file: ")
        return
    use(model)


def use(model):
    """What was loaded is a model: it can be saved, it transforms, it learns or says why not."""
    theta = model.theta_.copy()
    assert np.isfinite(theta).all()
    model.save(FOLDER / "again")
    assert RAE.load(FOLDER / "again").theta_.tobytes() == theta.tobytes()
    I = model.n_features_in_
    X = np.eye(I, dtype=theta.dtype)[np.arange(3) % I]  # distributions, for softmax
    assert np.isfinite(model.transform(X)).all()
    try:
        model.partial_fit(X)
    except FloatingPointError as error:
        sentence(error)
        assert model.theta_.tobytes() == theta.tobytes()
    except ValueError as error:  # such as of a solver that needs all the data
        sentence(error)
    assert np.isfinite(model.theta_).all()


def seeds():
    """Models of several kinds, each in each way of becoming a file."""
    X = np.eye(2)[[0, 1, 1]]
    for params in ({}, {"output": "softmax", "solver": "rprop"}, {"tied": True, "solver": "momentum"},
                   {"objective": "stepwise", "solver": "adadelta", "relative_rates": False},
                   {"decoder": "linear", "solver": "rmsprop", "init": "normal"},
                   {"solver": "lbfgs", "max_iter": 3}, {"checkpoint": FOLDER / "fit", "report_every": 1}):
        for x in (X, X.astype(np.float32)):
            model = RAE(**{"n_hidden": 2, "max_iter": 2, "random_state": 0, **params}).fit(x)
            if "checkpoint" in params:
                shutil.copy(FOLDER / "fit", FOLDER / "seed")
            else:
                model.save(FOLDER / "seed")
            whole = (FOLDER / "seed").read_bytes()
            n = 8 + int.from_bytes(whole[:8], "little")
            head, arrays = whole[8:n], whole[n:]
            header = json.loads(head)
            for name in INNER:
                header["__metadata__"][name] = json.loads(header["__metadata__"][name])
            yield bytes([RAW]) + whole
            yield bytes([HEADER]) + head + b"\xff" + arrays
            yield bytes([JSON]) + json.dumps(header).encode() + b"\xff" + arrays


ODD = [None, True, False, 0, 1, -1, 2, 3, 2**31, 2**62, 2**63, 2**64, -2**63, 10**400, 0.0, -0.0, 0.5, 1e-320, 1e308,
       5e-324, float("nan"), float("inf"), "", "x", "a\nb", "\ud800", "\0", "9" * 400, [], [[]], {}, {"": None}, [0],
       [2, 2], "sgd", "adam", "lbfgs", "rprop", "rmsprop", "nesterov", "constant", "softmax", "linear", "tanh",
       "unfold", "stepwise", "normal", "orthogonal", "F32", "F64", "I64", "BF16", "3"]

NAMES = ["", "x", "checkpoint", "solver.m.W_hh", "rate_scale.W_hh", "fit.order"]


def mutate(by_bytes):
    """libFuzzer's own mutations, and for JSON some that leave it JSON."""

    def change(data, most, seed):
        rng = random.Random(seed)
        if rng.random() < 0.4 or data[:1] != bytes([JSON]):
            return by_bytes(data, most)
        head, _, arrays = data[1:].partition(b"\xff")
        try:
            header = json.loads(head)
        except (ValueError, RecursionError):
            return by_bytes(data, most)
        for _ in range(rng.choice([1, 1, 1, 2, 4])):
            places = list(walk(header))
            owner, key = rng.choice(places) if places else ({}, "")
            how = rng.random()
            if how < 0.6:
                owner[key] = rng.choice(ODD)
            elif how < 0.75:
                other, place = rng.choice(places) if places else ({"": 0}, "")
                owner[key] = json.loads(json.dumps(other[place]))
            elif how < 0.9 and places:
                del owner[key]
            elif isinstance(owner, dict):
                owner[rng.choice(NAMES)] = rng.choice(ODD)
        changed = bytes([JSON]) + json.dumps(header).encode() + b"\xff" + arrays
        return changed if len(changed) <= most else by_bytes(data, most)

    return change


def walk(value):
    """Every place in a JSON value: the object or list, and the key."""
    for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from walk(value[key])


if __name__ == "__main__":
    FOLDER = Path(sys.argv[1]).parent / "load-files"
    FOLDER.mkdir(exist_ok=True)
    run(WATCHED, check, seeds, mutate)
