"""What both fuzzers share: bytes are taken apart, errors looked at, and atheris started.

A fuzzer is a module with `check(data)`, which raises for a finding, and `seeds()`, inputs to begin with. test_fuzz.py
runs these without atheris, so that they stay in order.

    python tests/fuzz/fuzz_load.py CORPUS SECONDS    inputs that reach new code are kept in the folder CORPUS
    python tests/fuzz/fuzz_load.py FILE              one input again: a finding, as CORPUS/../crash-* has it
"""

import sys
import warnings
from pathlib import Path

MOST_WORDS = 1000  # characters of a message


class Bytes:
    """Numbers and choices out of bytes, zeros at their end."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, n):
        self.at += n
        return self.data[self.at - n:self.at].ljust(n, b"\0")

    def below(self, n):
        """An integer from 0 up to n - 1."""
        return self.take(1)[0] % n

    def of(self, choices):
        return choices[self.below(len(choices))]

    def is_used_up(self):
        return self.at >= len(self.data)


def sentence(error):
    """The error's message, which must be one line of bounded length."""
    text = str(error)
    assert text and "\n" not in text and len(text) <= MOST_WORDS, f"not a sentence: {text!r}"
    return text


def run(module, check, seeds, mutate=None):
    """The command line of a fuzzer. `module` are the names of what is watched for new branches."""
    place = Path(sys.argv[1])
    warnings.simplefilter("error")  # what warns in a user's process raises in another's
    if place.is_file():
        return check(place.read_bytes())
    import atheris  # only here: it is no dependency of the tests

    if not any(place.iterdir()):
        for i, seed in enumerate(seeds()):
            (place / f"seed-{i}").write_bytes(seed)
    # The modules are there already, and compiled; their functions get new code, one after the other.
    for name in module:
        for value in vars(sys.modules[name]).copy().values():
            for function in [value, *vars(value).values()] if isinstance(value, type) else [value]:
                function = getattr(function, "__func__", function)
                if getattr(function, "__module__", None) == name and hasattr(function, "__code__"):
                    atheris.instrument_func(function)
    options = [f"-artifact_prefix={place.parent}/", f"-max_total_time={sys.argv[2]}", "-max_len=8192",
               "-rss_limit_mb=4096", "-timeout=60", "-print_final_stats=1"]
    by_bytes = mutate and mutate(lambda data, most: atheris.Mutate(data, most))  # another function than before Setup
    atheris.Setup([sys.argv[0], str(place), *options], check, custom_mutator=by_bytes)
    atheris.Fuzz()
