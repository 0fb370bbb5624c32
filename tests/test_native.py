"""The C of csrc/ without Python: drivers in tests/native, under sanitizers, and in a system that refuses things."""

import sys

import pytest
from compiled_c import CSRC, NATIVE, build, run, sanitized

MEMORY, RACES = "address,undefined", "thread"
WRAPPED = [f"-Wl,--wrap={name}" for name in ("malloc", "aligned_alloc", "free", "pthread_create", "pthread_join")]


def driver(folder, name, *options):
    return build(folder / name, [NATIVE / f"{name}.c", CSRC / "team.c"], "-O1", *options)


def kernels(folder, source, *options):
    return build(folder / "kernels", [NATIVE / "kernels.c", CSRC / "team.c", source], *options)


@pytest.mark.slow
def test_kernels_stay_within_their_arrays(tmp_path):
    """Those of base; and by a team of three."""
    program = kernels(tmp_path, NATIVE / "base.c", "-O0", sanitized(tmp_path, "address"))
    assert "base: " in run(program, "1", "3")


@pytest.mark.slow
def test_kernels_of_a_team_do_not_race(tmp_path):
    program = kernels(tmp_path, NATIVE / "base.c", "-O0", sanitized(tmp_path, RACES))
    assert "base: " in run(program, "3")


@pytest.mark.slow
def test_kernels_of_every_instruction_set_stay_within_their_arrays(tmp_path):
    """Compiling takes half a minute, and at -O1 a minute and a half."""
    program = kernels(tmp_path, CSRC / "dispatch.c", "-O0", sanitized(tmp_path, MEMORY))
    assert "base: " in run(program, "1", "3")


@pytest.mark.slow
def test_optimised_kernels_stay_within_their_arrays(tmp_path):
    """As a build is compiled: what it touches beyond the next page dies without a sanitizer, too."""
    assert "base: " in run(kernels(tmp_path, CSRC / "dispatch.c", "-O3"), "1", "3")


@pytest.mark.parametrize("sanitizers", [MEMORY, RACES])
def test_teams(tmp_path, sanitizers):
    assert run(driver(tmp_path, "team", sanitized(tmp_path, sanitizers))) == "whole\n"


@pytest.mark.skipif(sys.platform != "linux", reason="only linkers of Linux wrap a function")
@pytest.mark.parametrize("sanitizers", [MEMORY, RACES])
def test_teams_without_memory_or_threads(tmp_path, sanitizers):
    """Every allocation and every thread refused once, and all from there on: see the driver."""
    found = run(driver(tmp_path, "refusals", sanitized(tmp_path, sanitizers), *WRAPPED))
    assert found == "refused one by one for six: 7 allocations, 5 threads\n"
