"""The package as a whole: import, configuration, types, documentation, process state."""

import ast
import doctest
import importlib.metadata
import importlib.util
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import rae_fast
from rae_fast import (
    _config,
    _estimator,
    _kernels,
    _learner,
    _messages,
    classifiers,
    coding,
    detector,
    inputs,
    plotting,
    rae,
    rae_classifier,
    sequence_model,
    sequence_scaler,
    size_choice,
    solvers,
    stream_detector,
    streams,
    stretches,
    tree,
    tree_classifier,
    tree_coding,
    trees,
    vocabulary,
)

PACKAGE = Path(rae_fast.__file__).parent


def run(code, **environment):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                          env={**os.environ, **environment})


@pytest.mark.parametrize("name", _kernels.known_isas())
def test_an_isa_can_be_forced(name):
    result = run("import rae_fast; print(rae_fast.show_config('dicts')['kernels']['isa'])", RAE_FAST_ISA=name)
    if name in _kernels.usable_isas():
        assert result.stdout.strip() == name
    else:
        assert "ImportError" in result.stderr


@pytest.mark.parametrize("variable, value, choices", [
    ("RAE_FAST_ISA", "neon9", _kernels.usable_isas()), ("RAE_FAST_GEMM", "mkl", ["own", "blas"]),
    ("RAE_FAST_WEIGHTS", "rows", ["panels", "bare"]),
])
def test_an_unusable_choice_is_an_import_error_that_names_the_choices(variable, value, choices):
    result = run("import rae_fast", **{variable: value})
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError") and variable in last and value in last
    assert all(choice in last for choice in choices)


def test_a_row_the_cpu_lacks_is_refused():
    with pytest.raises(ValueError, match="not usable here; this CPU has .*base"):
        _kernels.use_isa("avx1024")


@pytest.mark.parametrize("gemm", ["own", "blas"])
def test_products_can_be_forced(gemm):
    code = ("import numpy as np; from rae_fast import RAE; "
            "print(repr(float(RAE(4, max_iter=9, random_state=0).fit(np.eye(4)).loss_curve_[-1])))")
    forced = float(run(code, RAE_FAST_GEMM=gemm).stdout)
    model = rae_fast.RAE(4, max_iter=9, random_state=0).fit(np.eye(4))
    assert forced == pytest.approx(model.loss_curve_[-1], rel=1e-13)


def test_same_seed_same_bits_in_another_process():
    code = ("import numpy as np; from rae_fast import RAE; X = np.sin(np.arange(600.)).reshape(10, 12, 5); "
            "print(RAE(9, max_iter=9, batch_size=4, random_state=0).fit(X).theta_.tobytes().hex())")
    assert run(code).stdout == run(code).stdout != ""


def test_both_spellings_of_the_import():
    code = "import rae_fast.RAE; from rae_fast import RAE; print(rae_fast.RAE is RAE, RAE(3))"
    assert run(code).stdout.strip() == "True RAE(n_hidden=3)"


def test_floating_point_state_is_left_alone():
    assert run("import rae_fast, sys; print(sys.float_info.min / 2 > 0)").stdout.strip() == "True"


def test_show_config(capsys, monkeypatch):
    assert rae_fast.show_config() is None
    text = capsys.readouterr().out
    for part in (rae_fast.__version__, np.__version__, _kernels.isa(), "BLAS", "cores"):
        assert part in text
    content = rae_fast.show_config("dicts")
    if content["blas"]:
        assert "rae_fast" in content["blas"][0]["used_by"]
        assert content["blas"][0]["threads"] >= 1
    with pytest.raises(ValueError, match="mode"):
        rae_fast.show_config("json")
    monkeypatch.setattr(_config, "blas_pools", lambda: None)
    rae_fast.show_config()
    assert "threadpoolctl" in capsys.readouterr().out


@pytest.mark.parametrize("variable, value", [("RAE_FAST_ISA", "base"), ("RAE_FAST_GEMM", "own"),
                                             ("RAE_FAST_WEIGHTS", "bare")])
def test_show_config_says_what_is_forced(capsys, monkeypatch, variable, value):
    monkeypatch.delenv(variable, raising=False)
    rae_fast.show_config()
    assert variable not in capsys.readouterr().out
    monkeypatch.setenv(variable, value)
    assert rae_fast.show_config("dicts")["kernels"][variable] == value
    rae_fast.show_config()
    assert variable in capsys.readouterr().out


def test_hint_where_openblas_is_held_to_avx2(monkeypatch):
    pools = [{"core": "Haswell"}]
    monkeypatch.setattr(_kernels, "usable_isas", lambda: ["avx512", "avx2", "base"])
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    assert _config._hint(pools) is None
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    assert "unset OPENBLAS_CORETYPE" in _config._hint(pools) and "Haswell" in _config._hint(None)
    assert _config._hint([{"core": "SkylakeX"}]) is None
    monkeypatch.setattr(_kernels, "usable_isas", lambda: ["avx2", "base"])
    assert _config._hint(pools) is None


def test_types_are_shipped_and_clean(tmp_path):
    for name in ("py.typed", "_kernels.pyi", "_training.pyi", "_form.pyi"):
        assert (PACKAGE / name).exists(), name
    if importlib.util.find_spec("mypy") is None:
        pytest.skip("mypy is not installed")
    use = tmp_path / "use.py"
    use.write_text("import numpy as np\nfrom rae_fast import RAE, show_config\n"
                   "model = RAE(3, tol=0, max_iter='auto').fit(np.eye(3))\n"
                   "loss: float = model.loss_and_grad(np.eye(3))[0]\n"
                   "codes = model.transform([np.eye(3)])\nreveal_type(codes)\n"
                   "show_config()\nmodel.fit(np.eye(3)).partial_fit(np.eye(3)).score(np.eye(3))\n")
    environment = dict(os.environ)
    if "site-packages" not in PACKAGE.parts:  # an editable install, which mypy does not follow
        environment["MYPYPATH"] = str(PACKAGE.parent)
    result = subprocess.run([sys.executable, "-m", "mypy", "--strict", f"--cache-dir={tmp_path}", use.name],
                            capture_output=True, text=True, cwd=tmp_path, env=environment)
    errors = [line for line in result.stdout.splitlines() if line.startswith("use.py") and ": error:" in line]
    assert not errors, result.stdout
    assert 'Revealed type is "numpy.ndarray' in result.stdout, result.stdout + result.stderr
    use.write_text("from rae_fast import RAE\nRAE(learning_rate='fast')\nRAE(no_such=1)\nRAE(24, 8)\n")
    result = subprocess.run([sys.executable, "-m", "mypy", "--strict", f"--cache-dir={tmp_path}", use.name],
                            capture_output=True, text=True, cwd=tmp_path, env=environment)
    wrong = [line for line in result.stdout.splitlines() if line.startswith("use.py") and ": error:" in line]
    assert len(wrong) == 3 and "learning_rate" in wrong[0] and "no_such" in wrong[1], result.stdout


STUBS = [path.stem for path in sorted(PACKAGE.glob("*.pyi"))]


@pytest.mark.parametrize("name", STUBS)
def test_stubs_name_what_the_modules_hold(name):
    """Functions, classes, and the methods and attributes of these."""
    module = importlib.import_module(f"rae_fast.{name}")
    tree = ast.parse((PACKAGE / f"{name}.pyi").read_text())
    stubbed = {node.name: node for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    held = {k for k, v in vars(module).items()
            if not k.startswith("_") and callable(v) and getattr(v, "__module__", None) == module.__name__}
    assert held == set(stubbed)
    for node in stubbed.values():
        owner = getattr(module, node.name)
        if isinstance(node, ast.ClassDef) and not issubclass(owner, tuple):
            told = {n.name for n in node.body if isinstance(n, ast.FunctionDef)}
            told |= {n.target.id for n in node.body if isinstance(n, ast.AnnAssign)}
            assert {k for k in vars(owner) if not k.startswith("_")} == {k for k in told if not k.startswith("_")}


def test_every_compiled_module_that_python_uses_has_a_stub():
    used = set()
    for path in PACKAGE.glob("*.py"):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module == "rae_fast":
                used |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("rae_fast."):
                used.add(node.module.split(".")[1])
    assert {name for name in used if (PACKAGE / f"{name}.pyx").exists() or name in STUBS} <= set(STUBS)


WITH_EXAMPLES = [rae, sequence_model, sequence_scaler, detector, size_choice, stretches, stream_detector,
                 rae_classifier, tree_classifier, coding, vocabulary,
                 streams, _learner, _estimator, _config, _messages, solvers, inputs,
                 trees, tree, tree_coding, classifiers, plotting]


@pytest.mark.parametrize("module", WITH_EXAMPLES, ids=lambda m: m.__name__)
def test_docstring_examples(module):
    if module is plotting:
        pytest.importorskip("matplotlib")
    result = doctest.testmod(module)
    assert result.failed == 0 and result.attempted > 0


def test_no_module_with_examples_is_left_out():
    for path in PACKAGE.glob("*.py"):
        if ">>>" in path.read_text():
            assert path.stem in {module.__name__.split(".")[-1] for module in WITH_EXAMPLES}, path.name


def public_members(cls):
    return {name: inspect.getattr_static(cls, name) for name in dir(cls) if not name.startswith("_")}


@pytest.mark.parametrize("cls", [rae_fast.RAE, rae_fast.RAEClassifier, rae_fast.RAEDetector, rae_fast.SequenceScaler,
                                 rae_fast.StreamDetector,
                                 rae_fast.TreeRAE, rae_fast.TreeRAEClassifier])
def test_public_methods_say_what_they_take_return_and_raise(cls):
    """numpydoc's sections; of hyper-parameters and attributes the class's own docstring has them."""
    attributes = inspect.cleandoc(cls.__doc__).split("\nAttributes\n----------\n")[1]
    attributes = re.split(r"\n(?:Notes|Examples)\n-", attributes)[0]
    told = {name for line in re.findall(r"^(\w[\w, ]*) : ", attributes, re.MULTILINE) for name in line.split(", ")}
    members = public_members(cls)
    assert {name for name, member in members.items() if isinstance(member, property)} == told
    for name, member in members.items():
        function = getattr(member, "__func__", member)
        if not inspect.isfunction(function):
            continue
        text, signature = inspect.cleandoc(function.__doc__), inspect.signature(function)
        parameters = text.partition("Parameters\n----------\n")[2].partition("\n\n")[0]
        for parameter in list(signature.parameters.values())[1:]:
            entry = rf"^\**(\w+, )*{parameter.name}(, \w+)*( :|$)"
            assert re.search(entry, parameters, re.MULTILINE), (name, parameter)
        assert signature.return_annotation == "None" or "Returns\n-------\n" in text, name
        assert "Raises\n------\n" in text or name in ("get_params",), name
        assert "Examples\n--------\n" in text, name


def test_fork():
    """A child after fork computes, and neither process hangs (OpenBLAS#5520)."""
    code = """
import os, warnings, numpy as np
from rae_fast import RAE
warnings.simplefilter("ignore")
X = np.random.default_rng(0).standard_normal((64, 50, 64))
model = RAE(256, init='normal', max_iter=1, random_state=0).fit(X)
codes = model.transform(X)
pid = os.fork()
ok = np.array_equal(model.fit(X).transform(X), codes)
if pid == 0:
    os._exit(0 if ok else 1)
assert ok and os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_threads_share_a_model():
    from concurrent.futures import ThreadPoolExecutor

    X = np.random.default_rng(0).standard_normal((20, 30, 5))
    model = rae_fast.RAE(40, max_iter=2, random_state=0).fit(X)
    expected = model.transform(X), model.reconstruct(X), model.loss_and_grad(X)[0]
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda _: (model.transform(X), model.reconstruct(X), model.loss_and_grad(X)[0]),
                              range(64)):
            for a, b in zip(found, expected):
                np.testing.assert_array_equal(a, b)
        fits = list(pool.map(lambda _: rae_fast.RAE(40, max_iter=5, random_state=0).fit(X).theta_, range(16)))
    assert all((theta == fits[0]).all() for theta in fits)


def test_memory_is_given_back():
    code = """
import numpy as np, resource
from rae_fast import RAE
X = np.random.default_rng(0).standard_normal((50, 40, 8))
def work(n):
    for _ in range(n):
        model = RAE(32, max_iter=2, random_state=0).fit(X)
        model.reconstruct(X), model.loss_and_grad(X), model.hidden_states(list(X))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before = work(20)
print((work(100) - before) / before)
"""
    assert float(run(code, OPENBLAS_NUM_THREADS="1").stdout) < 0.1


def test_the_description_has_no_link_that_a_package_index_cannot_follow():
    """An index shows README.md without the files beside it."""
    text = importlib.metadata.metadata("rae_fast").json["description"]
    assert "# rae_fast" in text and "docs/design.md" in text
    targets = re.findall(r"\]\(([^)]*)\)", text) + re.findall(r"(?m)^ *\[[^\]]+\]: *(.*)|<img", text)
    assert [target for target in targets if not re.match(r"https?://[^/]+/", target)] == []
