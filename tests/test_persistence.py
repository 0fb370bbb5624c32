"""Model files: what is saved comes back; whatever is not a whole model file is refused, in one sentence."""

import json
import os
import signal
import struct
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import PLAIN, UNLABELLED, everything, form_id

from rae_fast import RAE, persistence, reference
from rae_fast.solvers import SOLVERS

X3 = np.random.default_rng(0).standard_normal((6, 5, 3))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The bytes of a model file."""
    path = tmp_path_factory.mktemp("models") / "model"
    RAE(4, max_iter=3, random_state=0, early_stopping=True).fit(X3).save(path)
    return path.read_bytes()


def parts(data):
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8:8 + length]), data[8 + length:]


def joined(header, arrays):
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + arrays


def refused(tmp_path, data):
    path = tmp_path / "bad"
    path.write_bytes(data)
    with pytest.raises(ValueError) as caught:
        RAE.load(path)
    text = str(caught.value)
    assert text.startswith(f"{path} is not a whole rae_fast model file: ") and "\n" not in text
    return text


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_ctrl_c_while_loading_is_nothing_else(whole, tmp_path):
    path = tmp_path / "model"
    path.write_bytes(whole)
    rng = np.random.default_rng(0)
    RAE.load(path)
    start = time.perf_counter()
    RAE.load(path)
    whole_time = time.perf_counter() - start
    heard = 0
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        for _ in range(1500):
            try:
                signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-6, whole_time))
                RAE.load(path)
                signal.setitimer(signal.ITIMER_REAL, 0)
            except KeyboardInterrupt:
                heard += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert heard > 100


@pytest.mark.parametrize("options", UNLABELLED, ids=form_id)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("solver, init", [("adam", "linear"), ("sgd", "normal"), ("lbfgs", "orthogonal")])
def test_every_model_comes_back(options, dtype, solver, init, tmp_path):
    X = (reference.softmax(X3) if options["output"] != "linear" else X3).astype(dtype)
    model = RAE(np.int64(4), **{**options, "solver": solver, "init": init, "max_iter": 3, "learning_rate": 1e-3},
                tol=np.float32(0.5), shuffle=np.bool_(False), random_state=np.int32(7)).fit(list(X) + [X[0, :2]])
    model.save(tmp_path / "model")
    again = RAE.load(str(tmp_path / "model"))
    for name, value in model.get_params().items():
        assert again.get_params()[name] == value, name
    np.testing.assert_equal(everything(again), everything(model))
    np.testing.assert_array_equal(again.transform(X), model.transform(X))
    np.testing.assert_array_equal(again.reconstruct(X), model.reconstruct(X))


def test_what_belongs_to_this_run_is_not_saved(tmp_path):
    model = RAE(4, max_iter=2, callbacks=print, checkpoint=tmp_path / "fit", checkpoint_seconds=3.0, report_every=100,
                verbose=0, random_state=np.random.default_rng(0)).fit(X3)
    model.save(tmp_path / "model")
    for path in ("model", "fit"):
        again = RAE.load(tmp_path / path)
        assert again.callbacks is again.checkpoint is again.random_state is again.report_every is None
    assert b"print" not in (tmp_path / "model").read_bytes() and b"checkpoint" not in (tmp_path / "model").read_bytes()


def test_the_format_is_safetensors(whole):
    header, arrays = parts(whole)
    (length,) = struct.unpack("<Q", whole[:8])
    assert (8 + length) % 8 == 0 and whole[8:9] == b"{"
    metadata = header.pop("__metadata__")
    assert metadata["format"] == "rae_fast.RAE" and all(isinstance(v, str) for v in metadata.values())
    spans = sorted(entry["data_offsets"] for entry in header.values())
    assert spans[0][0] == 0 and spans[-1][1] == len(arrays)
    assert all(a[1] == b[0] for a, b in zip(spans, spans[1:]))
    assert header["V_hx"]["shape"] == [4, 3] and header["V_hx"]["dtype"] == "F64"
    start, end = header["c_x"]["data_offsets"]
    assert np.isfinite(np.frombuffer(arrays[start:end], "<f8")).all()


def test_files_are_readable_by_others(whole, tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy", reason="safetensors is not installed")
    (tmp_path / "model").write_bytes(whole)
    found = safetensors.load_file(tmp_path / "model")
    np.testing.assert_array_equal(found["W_hh"], RAE.load(tmp_path / "model").parameters_["W_hh"])


@pytest.mark.parametrize("order", ["sorted", "reversed", "shuffled"])
def test_files_written_by_others_are_read(order, whole, tmp_path):
    """They name arrays in an order of their own, which need not be the one in which they lie; spaces fill headers."""
    header, arrays = parts(whole)
    metadata, names = header.pop("__metadata__"), list(header)
    names = {"sorted": sorted(names), "reversed": names[::-1],
             "shuffled": [names[i] for i in np.random.default_rng(0).permutation(len(names))]}[order]
    text = json.dumps({**{name: header[name] for name in names}, "__metadata__": metadata}).encode() + b" " * 37
    (tmp_path / "model").write_bytes(struct.pack("<Q", len(text)) + text + arrays)
    (tmp_path / "ours").write_bytes(whole)
    np.testing.assert_array_equal(RAE.load(tmp_path / "model").theta_, RAE.load(tmp_path / "ours").theta_)


def test_files_written_by_the_safetensors_package_are_read(whole, tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy", reason="safetensors is not installed")
    (tmp_path / "ours").write_bytes(whole)
    metadata = parts(whole)[0]["__metadata__"]
    safetensors.save_file(safetensors.load_file(tmp_path / "ours"), tmp_path / "model", metadata)
    model, ours = RAE.load(tmp_path / "model"), RAE.load(tmp_path / "ours")
    np.testing.assert_array_equal(model.partial_fit(X3).theta_, ours.partial_fit(X3).theta_)


@pytest.mark.parametrize("solver, state",
                         [(solver, name) for solver, kind in SOLVERS.items() for name in kind.at_least_0])
def test_memory_that_no_solver_could_have_is_refused(solver, state, tmp_path):
    RAE(3, solver=solver, max_iter=2, learning_rate=1e-3, random_state=0).fit(X3).save(tmp_path / "model")
    arrays, metadata = persistence.read(tmp_path / "model")
    arrays[f"solver.{state}.W_hh"][1, 2] = -1e-9
    persistence.write(tmp_path / "model", arrays, metadata)
    with pytest.raises(ValueError, match=f"solver.{state} has values below 0, which {solver} never keeps"):
        RAE.load(tmp_path / "model")


def test_every_truncation_is_refused(whole, tmp_path):
    header_end = 8 + struct.unpack("<Q", whole[:8])[0]
    seams = [header_end - 1, header_end, header_end + 1, len(whole) - 1]
    for length in [*range(0, 40), *range(40, len(whole), 37), *seams]:
        refused(tmp_path, whole[:length])
    refused(tmp_path, whole + b"\0")


@given(st.data())
@settings(max_examples=400, deadline=None, derandomize=True)
def test_altered_bytes_never_do_harm(whole, tmp_path_factory, data):
    """Either a clear ValueError, or a file that differs only in numbers."""
    altered = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        altered[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("altered") / "model"
    path.write_bytes(bytes(altered))
    try:
        model = RAE.load(path)
    except ValueError as error:
        assert "\n" not in str(error) and "not a whole rae_fast model file" in str(error)
    else:
        assert np.isfinite(model.transform(X3)).all()
    os.unlink(path)


HEADERS = {
    "length beyond the file": lambda h, a: struct.pack("<Q", 2**63) + joined(h, a)[8:],
    "no JSON": lambda h, a: struct.pack("<Q", 5) + b"hello" + a,
    "a list": lambda h, a: joined([h], a),
    "deep": lambda h, a: struct.pack("<Q", 200_000) + b"[" * 100_000 + b"]" * 100_000,
    "repeated names": lambda h, a: joined(h, a).replace(b'"W_hh"', b'"W_xh"'),
    "a number of 5000 digits": lambda h, a: joined({**h, "W_hh": {**h["W_hh"], "shape": [4, 4]}}, a).replace(
        b'"shape": [4, 4]', b'"shape": [4, ' + 5000 * b"9" + b"]"),
    "bad bytes": lambda h, a: struct.pack("<Q", 4) + b"\xff\xfe{}" + a,
    "huge shape": lambda h, a: joined({**h, "W_hh": {**h["W_hh"], "shape": [2**40, 2**40]}}, a),
    "shape that overflows to the right size": lambda h, a: joined(
        {**h, "W_hh": {**h["W_hh"], "shape": [2**62, 4, 4]}}, a),
    "negative shape": lambda h, a: joined({**h, "W_hh": {**h["W_hh"], "shape": [-4, -4]}}, a),
    "real shape": lambda h, a: joined({**h, "W_hh": {**h["W_hh"], "shape": [4.0, 4]}}, a),
    "boolean shape": lambda h, a: joined({**h, "W_hh": {**h["W_hh"], "shape": [True, 16]}}, a),
    "overlap": lambda h, a: joined({**h, "b_h": {**h["b_h"], "data_offsets": [0, 32]}}, a),
    "gap": lambda h, a: joined({k: v for k, v in h.items() if k != "b_h"}, a),
    "dtype": lambda h, a: joined({**h, "W_hh": {**h["W_hh"], "dtype": "BF16"}}, a),
    "dtype list": lambda h, a: joined({**h, "W_hh": {**h["W_hh"], "dtype": "O"}}, a),
    "no entry": lambda h, a: joined({**h, "W_hh": None}, a),
    "metadata": lambda h, a: joined({**h, "__metadata__": {"format": 1}}, a),
    "no metadata": lambda h, a: joined({k: v for k, v in h.items() if k != "__metadata__"}, a),
}


@pytest.mark.parametrize("name", HEADERS)
def test_hostile_headers_are_refused(name, whole, tmp_path):
    tracemalloc.start()
    try:
        refused(tmp_path, HEADERS[name](*parts(whole)))
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()


def with_metadata(whole, key, **changes):
    header, arrays = parts(whole)
    inner = header["__metadata__"][key]
    inner = json.dumps({**json.loads(inner), **changes}) if changes else None
    metadata = {**header["__metadata__"], key: inner}
    return joined({**header, "__metadata__": {k: v for k, v in metadata.items() if v is not None}}, arrays)


METADATA = {
    "huge n_hidden": ("form", {"n_hidden": 2**40}), "n_hidden 0": ("form", {"n_hidden": 0}),
    "n_inputs true": ("form", {"n_inputs": True}), "n_inputs text": ("form", {"n_inputs": "3"}),
    "other n_inputs": ("form", {"n_inputs": 4}), "decoder": ("form", {"decoder": "os.system"}),
    "tied": ("form", {"tied": True}), "tied list": ("form", {"tied": [1]}),
    "extra size": ("form", {"objective": "unfold"}),
    "unknown parameter": ("params", {"self": 1}), "bad parameter": ("params", {"learning_rate": "fast"}),
    "hostile seed": ("params", {"random_state": [1] * 3}), "hostile seed 2": ("params", {"random_state": {"a": 1}}),
    "callbacks": ("params", {"callbacks": "print"}), "solver": ("record", {"solver": "lion"}),
    "solver list": ("record", {"solver": ["adam"]}), "other solver": ("record", {"solver": "momentum"}),
    "negative count": ("record", {"n_updates": -1}), "count text": ("record", {"n_iter": "1"}),
    "steps": ("record", {"n_steps": 0}), "steps text": ("record", {"n_steps": "5"}),
    "no params": ("params", {}), "no form": ("form", {}), "no record": ("record", {}),
}


@pytest.mark.parametrize("name", METADATA)
def test_hostile_metadata_are_refused(name, whole, tmp_path):
    key, changes = METADATA[name]
    refused(tmp_path, with_metadata(whole, key, **changes))


def test_a_stranger_cannot_make_a_fit_write_files(whole, tmp_path):
    target = tmp_path / "precious"
    target.write_text("mine")
    text = with_metadata(whole, "params", checkpoint=str(target), checkpoint_seconds=0)
    (tmp_path / "model").write_bytes(text)
    with pytest.raises(ValueError, match="checkpoint"):
        RAE.load(tmp_path / "model")
    assert target.read_text() == "mine"


def test_another_format_version_is_named(whole, tmp_path):
    header, arrays = parts(whole)
    header["__metadata__"]["format_version"] = "2"
    assert "format version '2'" in refused(tmp_path, joined(header, arrays))


def test_numbers_that_are_none_are_refused(whole, tmp_path):
    header, arrays = parts(whole)
    for name in ("W_hh", "c_x", "solver.mean.W_xh", "rate_scale.W_xh", "rate_scale.b_h"):
        start = header[name]["data_offsets"][0]
        refused(tmp_path, joined(header, arrays[:start] + struct.pack("<d", np.nan) + arrays[start + 8:]))
    start = header["rate_scale.V_hh"]["data_offsets"][0]
    refused(tmp_path, joined(header, arrays[:start] + struct.pack("<d", -1) + arrays[start + 8:]))


HOSTILE_FITS = [
    {"position": -3}, {"position": 3}, {"position": 2}, {"position": "2"}, {"n_iter": "3"}, {"n_iter": 2.0},
    {"n_iter": 0}, {"n_iter": 2**61}, {"n_updates": 2**63 - 2}, {"n_updates": 1e400}, {"n_updates": 2.9},
    {"in_pass": 1}, {"in_pass": None}, {"stalled": -5}, {"stalled": None}, {"stalled_passes": True},
    {"status": "sleeping"}, {"status": ["running"]}, {"bits": None}, {"bits": {"bit_generator": "MT"}},
    {"fingerprint": None}, {"fingerprint": 3},
]


@pytest.fixture
def checkpoint(tmp_path):
    """A model, its settings' checkpoint, and a function that tries an altered one."""

    def make(random_state=0, **params):
        model = RAE(**{**PLAIN, "n_hidden": 4, "max_iter": 3, "batch_size": 2, "n_iter_no_change": 3, **params},
                    random_state=random_state, checkpoint=tmp_path / "fit")
        model.fit(X3)
        header, arrays = parts((tmp_path / "fit").read_bytes())
        theta = model.theta_.copy()

        def attempt(header, arrays=arrays):
            (tmp_path / "bad").write_bytes(joined(header, arrays))
            tracemalloc.start()
            try:
                with pytest.raises(ValueError) as caught:
                    model.fit(X3, resume=tmp_path / "bad")
                assert tracemalloc.get_traced_memory()[1] < 50e6
            finally:
                tracemalloc.stop()
            text = str(caught.value)
            assert ("not a whole rae_fast model file" in text or "other data" in text) and "\n" not in text
            assert len(text) < 600
            np.testing.assert_array_equal(model.theta_, theta)

        return header, arrays, attempt

    return make


def with_fit(header, **changes):
    fit = {**json.loads(header["__metadata__"]["fit"]), **changes}
    return {**header, "__metadata__": {**header["__metadata__"], "fit": json.dumps(fit)}}


@pytest.mark.parametrize("early", [False, True])
def test_a_hostile_record_of_a_fit_is_refused(early, checkpoint):
    header, _, attempt = checkpoint(early_stopping=early)
    for change in HOSTILE_FITS:
        attempt(with_fit(header, **change))
    counts = json.loads(header["__metadata__"]["record"])
    for change in ({"n_iter": 0}, {"n_iter": 2**61}, {"n_iter": 4}, {"n_updates": 2**61}, {"n_updates": 8}):
        attempt({**header, "__metadata__": {**header["__metadata__"], "record": json.dumps({**counts, **change})}})
    attempt({**header, "__metadata__": {**header["__metadata__"], "fit": "[" * 900 + "]" * 900}})
    attempt({**header, "__metadata__": {**header["__metadata__"], "params": '{"a\\nb": ' + "1" * 400_000 + "}"}})


@pytest.mark.parametrize("make", [np.random.MT19937, np.random.Philox, np.random.SFC64, np.random.PCG64])
def test_a_hostile_random_stream_is_refused(make, checkpoint):
    """NumPy believes what it is told: positions beyond its arrays crash the interpreter."""
    header, _, attempt = checkpoint(random_state=make(0))
    bits = json.loads(header["__metadata__"]["fit"])["bits"]

    def altered(value):
        """Every variant of the state with one leaf changed to something it cannot be."""
        if isinstance(value, dict):
            for key, item in value.items():
                for change in altered(item):
                    yield {**value, key: change}
                yield {k: v for k, v in value.items() if k != key}
        elif isinstance(value, list):
            yield from (value[:-1], [*value, 0], [-1, *value[1:]], [2**64, *value[1:]], [0.5, *value[1:]], "x", [])
        elif isinstance(value, str):
            yield from ("MT", 3)
        else:
            yield from (-1, -100_000_000, 2**130, 1.5, None, True, [value])

    # Just beyond, and where the crash was: these are integers that NumPy itself takes.
    for where in (bits, bits["state"]):
        for name, limit in {"pos": 624, "buffer_pos": 4, "has_uint32": 1, "uinteger": 2**32 - 1}.items():
            for value in (limit + 1, 100_000_000_000) if name in where else ():
                changed = {**where, name: value}
                attempt(with_fit(header, bits=changed if where is bits else {**bits, "state": changed}))
    for change in [*altered(bits), {"array": ["x"], "dtype": "S2000000000"}, json.loads("[" * 500 + "]" * 500)]:
        attempt(with_fit(header, bits=change))


def test_hostile_arrays_of_a_fit_are_refused(checkpoint):
    header, arrays, attempt = checkpoint(early_stopping=True)
    for name in ("order", "losses", "held_out", "theta.W_hh", "theta.c_x"):
        for other in ("fit.other", "a"):  # another name; and its array is missing
            renamed = {(other if k == f"fit.{name}" else k): v for k, v in header.items()}
            attempt(renamed)
        entry = header[f"fit.{name}"]
        start, end = entry["data_offsets"]
        count = (end - start) // 8
        for shape in ([count, 1], [1, count]):
            attempt({**header, f"fit.{name}": {**entry, "shape": shape}})
        other = "F64" if entry["dtype"] == "I64" else "I64"
        attempt({**header, f"fit.{name}": {**entry, "dtype": other}})
        worst = struct.pack("<d", np.nan) if entry["dtype"] == "F64" else struct.pack("<q", 2**62)
        attempt(header, arrays[:start] + worst + arrays[start + 8:])


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "model"
    model = RAE(4, max_iter=1, random_state=0).fit(X3)
    model.save(path)
    before = path.read_bytes()

    def fail(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no space"):
        model.partial_fit(X3).save(path)
    assert path.read_bytes() == before
    monkeypatch.undo()
    model.save(path)
    assert path.read_bytes() != before and sorted(p.name for p in tmp_path.iterdir()) == ["model"]


def test_arrays_of_every_kind_come_back(tmp_path):
    arrays = {"a": np.arange(6.0)[::2], "b": np.ones((2, 0), np.float32), "c": np.int64(7).reshape(()),
              "d": np.asfortranarray(np.arange(6.0).reshape(2, 3)), "e": np.arange(3.0).astype(">f8"),
              "ü": np.zeros(0)}
    persistence.write(tmp_path / "file", arrays, {"text": "ä\n\"quoted\""})
    found, metadata = persistence.read(tmp_path / "file")
    assert metadata == {"text": "ä\n\"quoted\""} and list(found) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].shape == array.shape and found[name].dtype.isnative


def test_not_fitted_models_and_missing_files(tmp_path):
    with pytest.raises((ValueError, AttributeError), match="not fitted"):
        RAE().save(tmp_path / "model")
    with pytest.raises(FileNotFoundError):
        RAE.load(tmp_path / "model")
    with pytest.raises(OSError):
        RAE(2, max_iter=0).fit(X3).save(tmp_path / "no" / "folder")


@pytest.mark.parametrize("init", ["normal", "orthogonal", "linear"])
def test_parameters_begin_on_a_cache_line(tmp_path, init):
    """The kernels read and update small weights where they are."""
    model = RAE(5, init=init, max_iter=1, random_state=0).fit(np.eye(3))
    model.save(tmp_path / "model.safetensors")
    for theta in (model.theta_, RAE.load(tmp_path / "model.safetensors").theta_):
        assert theta.ctypes.data % 64 == 0
        assert theta.flags.c_contiguous and theta.flags.writeable
