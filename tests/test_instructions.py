"""Instructions that fixed updates take, counted by callgrind: what became slower shows without a clock.

A change that is meant to change them, or another compiler, stores new ones:
`python -m pytest -m slow tests/test_instructions.py --store-instructions`.
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from compiled_c import NATIVE, build, environment, module_compiler
from counted_updates import CASES, SIZES

from rae_fast import _kernels

STORED = Path(__file__).parent / "instructions.json"
TOLERANCE = 0.05


def counted(folder, isa):
    """Instructions of one update, by case."""
    mark = build(folder / "mark.so", [NATIVE / "mark.c"], "-O1", "-shared", "-fPIC")
    command = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={folder}/counts",
               sys.executable, Path(__file__).parent / "counted_updates.py", mark]
    found = subprocess.run(command, capture_output=True, text=True, timeout=1200,
                           env=environment(RAE_FAST_ISA=isa, RAE_FAST_GEMM="own", RAE_FAST_WEIGHTS="panels",
                                           OPENBLAS_NUM_THREADS="1", PYTHONHASHSEED="0"))
    assert found.returncode == 0, found.stderr[-3000:]
    files = [folder / f"counts.{i}" for i in range(1, 3 * len(CASES) + 1)]
    totals = [int(re.search(r"^(?:totals|summary): (\d+)", file.read_text(), re.M)[1]) for file in files]
    counts = {}
    for i, case in enumerate(CASES):
        # The time before a case's first mark is that of preparing it. What a call costs cancels out.
        _, once, twice = totals[3 * i:3 * i + 3]
        counts["-".join(case)] = round((twice - once) / SIZES[case[0]][-1])
    return counts


@pytest.mark.slow
@pytest.mark.parametrize("isa", ["base", "avx2"])
def test_instructions_of_an_update(tmp_path, isa, request):
    if shutil.which("valgrind") is None:
        pytest.skip("there is no valgrind")
    if not Path("/usr/include/valgrind/callgrind.h").exists():
        pytest.skip("valgrind's header files are not there")
    if isa not in _kernels.usable_isas():
        pytest.skip(f"this CPU has no {isa}")
    compiler = module_compiler(_kernels.__file__)
    stored = json.loads(STORED.read_text())
    store = request.config.getoption("--store-instructions")
    if not store and isa not in stored.get(compiler, {}):
        pytest.skip(f"nothing is stored for {compiler}: --store-instructions does")
    found = counted(tmp_path, isa)
    if store:
        stored.setdefault(compiler, {})[isa] = found
        STORED.write_text(json.dumps(stored, indent=1) + "\n")
    expected = stored[compiler][isa]
    changes = {case: found[case] / expected[case] - 1 for case in expected}
    print({case: f"{change:+.2%}" for case, change in changes.items()})
    beyond = [f"{case}: {found[case]:,}, stored {expected[case]:,}" for case in found
              if abs(changes[case]) > TOLERANCE]
    assert not beyond, "\n".join(beyond)
