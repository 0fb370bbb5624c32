"""The kernels' table of rae_kernels.h for Cython: rae_fast/_kernels_table.pxi, which setup.py has written.

Every kernel is declared once, in the header. Here its entry becomes one of both tables, and an inline function of
fused type that takes it from the table of the instruction set in use: numbers of the element type come as double,
arrays of size_t as Py_ssize_t. What _kernels.pxd says of its own (a table's sizes, the solvers) is left out.
"""

import re
from pathlib import Path

HEADER = Path(__file__).parent / "rae_kernels.h"
TYPES = (("float", "f32"), ("double", "f64"))
ENTRY = re.compile(r"(\w+) \(\*(\w+)\)\(([^)]*)\);")
OWN = ("update", "packed_size", "sum_scratch", "peak", "usable")  # update: of the solvers' table


def entries():
    """Result, name and arguments in C of every kernel."""
    text = HEADER.read_text()
    text = re.sub(r"/\*.*?\*/", "", text.replace("\\\n", " "), flags=re.DOTALL)
    found = [(result, name, " ".join(arguments.split())) for result, name, arguments in ENTRY.findall(text)]
    return [(result, name, arguments.split(", ")) for result, name, arguments in found if name not in OWN]


def function(result, name, arguments):
    """The inline function of a kernel; tanh gets an underscore, for it is libm's name."""
    taken = []
    passed = {element: [] for element, _ in TYPES}
    for argument in arguments:
        kind, variable = re.match(r"(.*?)(\w+)$", argument).groups()
        fused = {"T ": "double ", "const size_t *": "const Py_ssize_t *"}.get(kind, kind.replace("T *", "real *"))
        taken.append(fused + variable)
        for element in passed:
            cast = {"T ": f"<{element}>", "const size_t *": "<const size_t *>"}.get(kind, "")
            passed[element].append(cast + variable)
    lines = [f"cdef inline {result} {name}{'_' * (name == 'tanh')}({', '.join(taken)}) noexcept nogil:"]
    for element, table in TYPES:
        call = f"{'return ' * (result != 'void')}in_use.{table}.{name}({', '.join(passed[element])})"
        lines += [f"    {'if real is float' if element == 'float' else 'else'}:", f"        {call}"]
    return lines


def bindings():
    """The text of _kernels_table.pxi."""
    lines = ["# Made from csrc/rae_kernels.h by csrc/bindings.py: change those.", "",
             'cdef extern from "rae_kernels.h":']
    for element, table in TYPES:
        lines += [f"    ctypedef struct rae_table_{table}:"]
        for result, name, arguments in entries():
            typed = ", ".join(re.sub(r"\bT\b", element, argument) for argument in arguments)
            lines += [f"        {result} (*{name})({typed}) noexcept nogil"]
        lines += ["        size_t (*packed_size)(size_t, size_t) noexcept nogil",
                  "        size_t (*sum_scratch)(size_t, size_t, size_t) noexcept nogil",
                  f"        const rae_solver_{table} *solvers", "        double (*peak)(size_t) noexcept nogil",
                  "        size_t peak_flops", "        size_t lanes", ""]
    lines += ["    ctypedef struct rae_isa:", "        const char *name", "        int (*usable)() noexcept nogil",
              *(f"        const rae_table_{table} *{table}" for _, table in TYPES), "",
              "cdef const rae_isa *in_use  # the row of the table that every kernel below is taken from"]
    for kernel in entries():
        lines += ["", "", *function(*kernel)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(bindings())
