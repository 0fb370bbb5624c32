"""The house: imports go down, modules keep to themselves, files and functions stay small."""

import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "rae_fast"
pytestmark = pytest.mark.skipif(not (PACKAGE / "_form.pyx").exists(), reason="the sources are not beside the tests")

# Every module, such that each imports only from those before it: docs/design.md, "The house".
ORDER = """
    _messages _blas _kernels _pulse _workspace _record solvers persistence _progress _estimator _config dense
    _buckets _products _form _batch outputs parameters reference
    _slots _cell _head _judge _factored _objective _sequence _stepwise _unfold _tree_form _forest _tree_cell _greedy
    _tree_unfold _tree
    _objectives _codes _training
    sparse_inputs inputs layouts closed_form relative_rates scaling gaps hyperparameters patches sizes vocabulary trees
    learned factored model_file lbfgs training trial checkpoint _learner streams coding stretches sequence_model rae
    classifiers
    rae_classifier detector_file detector size_choice sequence_scaler stream_detector tree_coding tree
    tree_classifier plotting
    __init__
""".split()

MOST_LINES = 700
SCREEN = 60  # lines of code and comments, without the docstring


def sources():
    """Module, file name and text of every Python and Cython source."""
    for path in sorted(PACKAGE.glob("*")):
        if path.suffix in (".py", ".pyx", ".pxd"):
            yield path.stem, path.name, path.read_text()


def imported(text):
    """What a source imports of the package, anywhere, under TYPE_CHECKING and in functions too: names of modules, or
    of what the package itself has."""
    text = re.sub(r"\\\n", " ", text)
    line = re.compile(r"^[ \t]*(?:from[ \t]+(\S+)[ \t]+c?import[ \t]+(\([^)]*\)|[^\n]*)|c?import[ \t]+([^\n]*))",
                      re.MULTILINE)
    for source, names, modules in line.findall(text):
        names = [name.split()[0] for name in re.sub(r"[()]|#.*", "", names).split(",") if name.strip()]
        for module in [source] if source else [name.split()[0] for name in modules.split("#")[0].split(",")]:
            if module.startswith(".") or (module.split(".")[0] == "rae_fast" and "*" in names):
                yield f"{module}: neither relative imports nor stars"
            elif module == "rae_fast":
                yield from names or [module]
            elif module.startswith("rae_fast."):
                yield module.split(".")[1]


def test_every_module_has_its_place():
    assert sorted({name for name, _, _ in sources()}) == sorted(ORDER)


def test_imports_go_down():
    for name, file, text in sources():
        code = re.sub(r'"""(?:[^"\\]|\\.|"(?!""))*"""', "", text)
        for other in set(imported(code)) - {name} - ({"__version__"} if name == "_config" else set()):
            assert other in ORDER, f"{file} imports {other}"
            assert ORDER.index(other) < ORDER.index(name), f"{file} imports {other}, which is not below it"


@pytest.mark.parametrize("line, found", [
    ("from rae_fast import _blas, rae\n", ["_blas", "rae"]), ("    from rae_fast.rae import RAE\n", ["rae"]),
    ("from rae_fast._form cimport (Form,\n   Layout)\n", ["_form"]), ("import rae_fast.rae\n", ["rae"]),
    ("from rae_fast import (_codes,  # why\n    inputs)\n", ["_codes", "inputs"]),
    ("import numpy, rae_fast._blas, rae_fast.rae as r\n", ["_blas", "rae"]), ("from rae_fast import RAE\n", ["RAE"]),
    ("cimport rae_fast._form, rae_fast._training\n", ["_form", "_training"]), ("import rae_fast as r\n", ["rae_fast"]),
    ("from rae_fast import \\\n    rae\n", ["rae"]), ("from numpy import linalg\nimport os.path\n", []),
    ("from . import rae\n", [".: neither relative imports nor stars"]),
    ("from .rae import RAE\n", [".rae: neither relative imports nor stars"]),
    ("from rae_fast.rae import *\n", ["rae_fast.rae: neither relative imports nor stars"]),
])
def test_an_import_is_seen(line, found):
    assert list(imported(line)) == found


def test_no_module_uses_what_is_private_to_another_class():
    """An attribute with an underscore belongs to self, or to a module of that name."""
    theirs = {"random_state._bit_generator"}  # NumPy's, which has no public name for it
    for name, file, text in sources():
        code = re.sub(r'"""(?:[^"\\]|\\.|"(?!""))*"""', "", re.sub(r"#.*", "", text))
        for owner, attribute in re.findall(r"(\w+)\.(_[a-z]\w*)", code):
            if owner not in ("self", "cls", "model", "rae_fast") and f"{owner}.{attribute}" not in theirs:
                assert attribute in ORDER, f"{file}: {owner}.{attribute}"
            if owner == "model":  # only Learner.load makes one of its own class
                assert name == "_learner", f"{file}: {owner}.{attribute}"


def test_compiled_code_knows_no_estimator():
    for _, file, text in sources():
        if file.endswith((".pyx", ".pxd")):
            assert "__dict__" not in text and "RAE(" not in text, file


def functions(text):
    """Name, first line, lines without the docstring, and the line above, of every function and method."""
    lines = text.splitlines()
    for i, line in enumerate(lines):
        head = re.match(r"( *)(?:def|cdef|cpdef) .*?(\w+)\(", line)
        if not head or "cdef class" in line:
            continue
        j = i + 1
        while j < len(lines) and (not lines[j].strip() or lines[j].startswith(head[1] + " ")
                                  or lines[j].startswith(head[1] + ")")):
            j += 1
        body = "\n".join(lines[i:j]).rstrip()
        body = re.sub(r'"""(?:[^"\\]|\\.|"(?!""))*"""', "", body, count=1)
        above = i - 1
        while above >= 0 and lines[above].lstrip().startswith("@"):
            above -= 1
        yield head[2], i + 1, len([row for row in body.splitlines() if row.strip()]), lines[above].strip()


def test_files_and_functions_stay_small():
    """A function of more than a screen has the reason in a comment above it."""
    long = []
    for _, file, text in sources():
        assert text.count("\n") <= MOST_LINES, file
        long += [f"{file}:{line} {name} has {count} lines" for name, line, count, above in functions(text)
                 if count > SCREEN and not re.match(r"# *\w", above)]
    assert not long, "\n".join(long)


def test_a_long_function_is_seen():
    body = "".join(f"    x = {i}\n" for i in range(SCREEN + 5))
    text = f"def short():\n    pass\n\n\ncdef int f(int x,\n           int y) nogil:\n{body}"
    assert [found[:3] for found in functions(text)] == [("short", 1, 2), ("f", 5, SCREEN + 7)]
