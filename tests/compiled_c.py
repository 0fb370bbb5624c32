"""Compiling the C of tests/native, and of csrc, for a test: what cannot be done here skips with the reason."""

import os
import re
import shlex
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

NATIVE = Path(__file__).parent / "native"
CSRC = Path(__file__).parent.parent / "csrc"
FLAGS = ["-std=c11", "-pthread", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math", "-g",
         f"-I{CSRC}"]


def compiler():
    """The words that call the C compiler of this Python."""
    words = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    if shutil.which(words[0]) is None:
        pytest.skip(f"there is no C compiler {words[0]}")
    return words


def environment(**more):
    """Without what `make sanitize` loads before everything: a driver has its own."""
    return {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"} | more


def build(target, sources, *options):
    """A program, or with -shared a library, of sources in tests/native or csrc."""
    if not all(source.exists() for source in sources):
        pytest.skip("csrc/ is not beside the tests")
    command = [*compiler(), *FLAGS, *options, "-o", target, *sources, "-lm"]
    found = subprocess.run(command, capture_output=True, text=True, env=environment())
    assert found.returncode == 0, found.stderr
    return target


def sanitized(folder, sanitizers):
    """The option for these sanitizers, where a program with them runs."""
    option, source, program = f"-fsanitize={sanitizers}", folder / "empty.c", folder / "empty"
    source.write_text("int main(void) { return 0; }\n")
    compiled = subprocess.run([*compiler(), option, source, "-o", program], capture_output=True, env=environment())
    if compiled.returncode or subprocess.run([program], capture_output=True, env=environment()).returncode:
        pytest.skip(f"this compiler, or this system, has no {sanitizers} sanitizer")
    return option


def run(program, *words, seconds=300):
    """What the program prints; it reports no error, and leaves no memory behind where a sanitizer looks."""
    found = subprocess.run([program, *words], capture_output=True, text=True, timeout=seconds,
                           env=environment(ASAN_OPTIONS="detect_leaks=1", UBSAN_OPTIONS="halt_on_error=1",
                                           TSAN_OPTIONS="halt_on_error=1"))
    assert found.returncode == 0, found.stdout[-2000:] + found.stderr[-6000:]
    return found.stdout


def module_compiler(path):
    """Name and major version of the compiler that made a module, as the module itself says."""
    found = re.search(rb"(GCC): \([^)]*\) (\d+)\.|(clang) version (\d+)\.", Path(path).read_bytes())
    return found and "-".join(word.decode().lower() for word in found.groups() if word)
