"""The fuzzers of tests/fuzz, a few hundred inputs each, and what they have found."""

import importlib
import random
import sys
from pathlib import Path

import numpy as np
import pytest

from rae_fast import inputs

sys.path.append(str(Path(__file__).parent / "fuzz"))


def changed(data, rng):
    """Some bytes of a seed as others, gone, or twice."""
    data = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 5])):
        place = rng.randrange(len(data) + 1)
        data[place:place + rng.choice([0, 1, 1, 4])] = rng.randbytes(rng.choice([0, 1, 1, 4]))
    return bytes(data)


@pytest.mark.parametrize("name", ["fuzz_load", "fuzz_inputs"])
def test_a_fuzzer_finds_nothing_near_its_seeds(name, tmp_path, monkeypatch):
    fuzzer, rng = importlib.import_module(name), random.Random(0)
    monkeypatch.setattr(fuzzer, "FOLDER", tmp_path, raising=False)
    seeds = list(fuzzer.seeds())
    for seed in seeds:
        fuzzer.check(seed)
    for _ in range(300):
        fuzzer.check(changed(rng.choice(seeds), rng))
    if hasattr(fuzzer, "mutate"):
        mutate = fuzzer.mutate(lambda data, most: data)
        for n in range(300):
            fuzzer.check(mutate(rng.choice(seeds), 1 << 16, n))


class Longer(list):
    def __len__(self):
        return 3


def test_a_list_that_tells_another_length_is_read_by_its_elements():
    assert inputs.as_batch(Longer([np.eye(2)])).offsets.tolist() == [0, 2]
    with pytest.raises(ValueError, match="X is empty"):
        inputs.as_batch(Longer())


@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: [x]])
def test_a_signalling_nan_is_a_nan(wrap):
    """Turning one into another type raises the processor's flag of an invalid operation, which NumPy warns of."""
    X = np.array([[0x7fa00000, 0x3f800000]], np.uint32).view(np.float32)
    with np.errstate(all="raise"), pytest.raises(ValueError, match="sequence 0 has NaN at step 0, feature 0"):
        inputs.as_batch(wrap(X), np.dtype(np.float64))


def test_masked_records_are_refused_as_records():
    X = np.ma.MaskedArray(np.zeros((2, 2), [("a", "f8"), ("b", "i4")]), mask=True)
    with pytest.raises(ValueError, match="X holds records"):
        inputs.as_batch(X)
