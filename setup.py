"""Builds the extension modules; pyproject.toml declares everything else.

RAE_FAST_SANITIZE=address,undefined builds with these sanitizers (see CONTRIBUTING.md).
"""

import os
import re
import runpy
import sys
import tomllib
from pathlib import Path

import numpy
import scipy
from Cython.Build import cythonize
from setuptools import Extension, setup

PACKAGE = Path(__file__).parent / "rae_fast"


def blas_int_line():
    """SciPy >= 1.18 names its BLAS integer; older ones, and all signatures of theirs, say int."""
    pxd = (Path(scipy.__file__).parent / "linalg" / "cython_blas.pxd").read_text()
    if "blas_int" in pxd:
        return "from scipy.linalg.cython_blas cimport blas_int\n"
    return "ctypedef int blas_int\n"


def write(path, text):
    """Only where it has changed: what includes it is compiled again."""
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def long_description():
    """README.md as a package index shows it, which has none of our files: links to them lead to project.urls "Source",
    the address of the repository; without one they become text, and pictures are left out."""
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    source = project.get("urls", {}).get("Source", "").rstrip("/")

    def link(match):
        picture, text, target = match.groups()
        if re.match(r"https?://", target):
            return match[0]
        if not source:
            return "" if picture else text
        return f"{picture}[{text}]({source}/{'raw' if picture else 'blob'}/HEAD/{target})"

    return re.sub(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)", link, Path("README.md").read_text(encoding="utf-8"))


if sys.platform == "win32":
    raise SystemExit("rae_fast is not supported on Windows yet: its C code needs gcc or clang")

compile_args = ["-std=c11", "-O3", "-pthread", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math",
                "-fvisibility=hidden",
                "-g0"]  # Python's own flags ask for debug information: 16 MB of modules are 3 (du -c rae_fast/*.so)
link_args = ["-pthread"]
if sanitizers := os.environ.get("RAE_FAST_SANITIZE"):
    link_args += [f"-fsanitize={sanitizers}"]
    # -O1: gcc 12 checks the unrolled tiles in a minute and a half, at -O3 in ten.
    compile_args += [f"-fsanitize={sanitizers}", "-g", "-fno-omit-frame-pointer", "-O1"]

write(PACKAGE / "_blas_int.pxi", blas_int_line())
write(PACKAGE / "_kernels_table.pxi", runpy.run_path("csrc/bindings.py")["bindings"]())
flags = {"extra_compile_args": compile_args, "extra_link_args": link_args,
         "include_dirs": ["csrc", numpy.get_include()],
         "define_macros": [("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION")]}
kernel_files = ["csrc/dispatch.c", "csrc/team.c"]
headers = sorted(str(p) for p in Path("csrc").glob("*.h"))
setup(
    long_description=long_description(),
    long_description_content_type="text/markdown",
    ext_modules=cythonize(
        [
            Extension("rae_fast._kernels", ["rae_fast/_kernels.pyx", *kernel_files], depends=headers, **flags),
            *(Extension(f"rae_fast.{path.stem}", [f"rae_fast/{path.name}"], depends=headers, **flags)
              for path in sorted(PACKAGE.glob("*.pyx")) if path.stem != "_kernels"),
        ],
        compiler_directives={"language_level": 3, "boundscheck": False, "wraparound": False,
                             "cdivision": True, "initializedcheck": False},
    ),
    options={"build_ext": {"parallel": True}},
)
