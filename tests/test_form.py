"""The table of blocks: every vector that has a number for each parameter is laid out by it."""

import copy
import pickle

import numpy as np
import pytest
from problems import FORMS, UNLABELLED, form_id, gradient, problem

from rae_fast import RAE, _form, parameters
from rae_fast._form import NAMES, Blocks, Form, check_theta

CODE = ("W_hc", "b_c", "V_ch", "c_1")
DTYPES = [np.float32, np.float64]


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("I, H", [(1, 1), (3, 5), (8, 24), (7, 2)])
def test_blocks_fill_theta_without_a_gap(I, H, tied):
    form = Form(I, H, tied=tied)
    blocks, end = form.blocks, 0
    for block in blocks:
        assert block.start == end and block.mark in ("dense", "rows")
        end += block.shape[0] * block.shape[1]
    assert end == form.size == (1 if tied else 2) * (H + I) * H + 3 * H + I
    names = {block.name for block in blocks}
    of_trees = {"W_rh", "V_hr", "c_r", "W_hy", "b_y"}
    assert names == set(NAMES) - ({"V_hh", "V_hx"} if tied else set()) - set(CODE) - of_trees
    # A row of W_xh belongs to an input, and one of V_hx, and of c_x, to an output.
    rows = {block.name: block.shape for block in blocks if block.mark == "rows"}
    assert rows == {name: shape for name, shape in
                    {"W_xh": (I, H), "V_hx": (I, H), "c_x": (I, 1)}.items() if name in names}


@pytest.mark.parametrize("options", FORMS, ids=form_id)
def test_views_blocks_and_the_mathematics_agree(options):
    I, H = 3, 5
    form = Form(I, H, **options)
    theta = np.arange(form.size, dtype=float)
    views = form.views(theta)
    shapes = {"W_xh": (I, H), "W_hh": (H, H), "b_h": (H,), "h0": (H,), "V_hh": (H, H), "V_hx": (H, I), "c_h": (H,),
              "c_x": (I,)}
    if form.n_code:
        shapes |= {"W_hc": (H, 3), "b_c": (3,), "V_ch": (3, H), "c_1": (H,)}
    if form.n_classes:
        shapes |= {"W_hy": (form.n_code or H, 3), "b_y": (3,)}
    assert {name: view.shape for name, view in views.items()} == shapes
    assert tuple(views) == tuple(name for name in NAMES if name in shapes)
    for block in form.blocks:
        stored = theta[block.start:block.start + block.shape[0] * block.shape[1]].reshape(block.shape)
        shown = views[block.name].reshape(block.shape if not block.turned else block.shape[::-1])
        np.testing.assert_array_equal(stored.T if block.turned else stored, shown)
    W, b, h0, V, c = parameters.stacked(theta, form)
    np.testing.assert_array_equal(W, np.vstack([views["W_hh"], views["W_xh"]]))
    np.testing.assert_array_equal(V, np.hstack([views["V_hh"], views["V_hx"]]))
    np.testing.assert_array_equal(np.concatenate([b, h0, c]),
                                  np.concatenate([views[name] for name in ("b_h", "h0", "c_h", "c_x")]))
    if form.tied:
        np.testing.assert_array_equal(V, W.T)
    if form.n_code:
        for found, name in zip(parameters.code_maps(theta, form), CODE, strict=True):
            np.testing.assert_array_equal(found, views[name])
    for view in views.values():
        assert np.shares_memory(view, theta) and view.flags.writeable
    theta.flags.writeable = False
    assert not any(view.flags.writeable for view in form.views(theta).values())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("options", UNLABELLED, ids=form_id)
def test_a_gradient_is_laid_out_as_theta(options, dtype):
    form = Form(3, 5, **options)
    theta, data, offsets, weights = problem(form, 4, 3, True)
    found = gradient(theta.astype(dtype), data.astype(dtype), offsets, weights.astype(dtype), form)[1]
    X = [data[a:b].astype(dtype) for a, b in zip(offsets[:-1], offsets[1:])]
    model = RAE(5, **options, init="normal", max_iter=0).fit(X)
    model.theta_[:] = theta
    named = model.loss_and_grad(X, sample_weight=weights)[1]
    for name, view in form.views(found).items():
        np.testing.assert_array_equal(named[name], view)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("tied", [False, True])
def test_one_number_a_block_or_a_row(tied, dtype):
    form = Form(3, 5, tied=tied)
    scale = Blocks(form, dtype, by_row=["W_xh"])
    views = scale.views()
    assert {name: view.shape for name, view in views.items()} == {
        block.name: (3, 1) if block.name == "W_xh" else () for block in form.blocks}
    assert scale.memory.size == sum(view.size for view in views.values()) == 3 + (5 if tied else 7)
    for i, view in enumerate(views.values()):
        view[...] = i + 1
    for name, view in views.items():
        np.broadcast_to(view, form.views(np.zeros(form.size))[name].shape)
    for twin in (copy.copy(scale), copy.deepcopy(scale), pickle.loads(pickle.dumps(scale))):
        assert twin.form == form and twin.memory.dtype == dtype
        np.testing.assert_equal(twin.views(), views)


def test_a_form_is_a_value():
    form = Form(3, 5, "unfold", "tanh", "softmax", True)
    assert form == Form(3, 5, "unfold", "tanh", "softmax", True) != Form(3, 5) and hash(form) == hash(copy.copy(form))
    assert pickle.loads(pickle.dumps(form)) == copy.deepcopy(form) == form != "a form"
    assert form.learned_by("unfold", 1.0, False) is form
    other = form.learned_by("stepwise", 0.5, True)
    assert (other.objective, other.hidden_weight, other.reconstruct_h0, other.tied) == ("stepwise", 0.5, True, True)
    with pytest.raises(AttributeError):
        form.n_hidden = 6
    for sizes in ((0, 5), (3, 0), (-1, 5)):
        with pytest.raises(ValueError, match="at least 1"):
            Form(*sizes)


@pytest.mark.parametrize("dtype", DTYPES)
def test_memory_for_theta_begins_on_a_cache_line(dtype):
    for I in range(1, 9):
        theta = Form(I, 3).empty(dtype)
        assert theta.ctypes.data % 64 == 0 and theta.dtype == dtype and theta.shape == (Form(I, 3).size,)
        assert check_theta(theta, Form(I, 3), True) is theta


@pytest.mark.parametrize("memory", [np.zeros(97), np.zeros(98, int), np.zeros(196)[::2], np.zeros((1, 98)), [0.0] * 98,
                                    np.zeros(98, np.float32), np.zeros(98, ">f8")])
def test_blocks_refuse_memory_that_does_not_fit(memory):
    form = Form(3, 5)
    Blocks(form, float, memory=np.zeros(98))
    with pytest.raises(ValueError):
        Blocks(form, float, memory=memory)
    with pytest.raises(ValueError, match="float32 or float64"):
        Blocks(form, np.float16)


def test_names_are_those_of_the_table():
    assert sorted(NAMES) == sorted(row[0] for row in _form._TABLE)


def test_a_code_is_no_larger_than_its_state_and_of_the_last_one():
    assert Form(3, 5, "unfold").n_code is None and Form(3, 5, "unfold").code_size == 5
    assert Form(3, 5, "unfold", n_code=5).code_size == 5
    for wrong, options in (("n_code=6 must not be larger than n_hidden=5", {"n_code": 6}),
                           ("at least 1", {"n_code": 0})):
        with pytest.raises(ValueError, match=wrong):
            Form(3, 5, "unfold", **options)
    with pytest.raises(ValueError, match="n_code is for objective='unfold'"):
        Form(3, 5, "stepwise", n_code=2)
    with pytest.raises(ValueError, match="n_code is for objective='unfold'"):
        Form(3, 5, "unfold", n_code=2).learned_by("stepwise", 1.0, False)


def test_an_orthogonal_start_gives_back_the_part_of_the_state_that_is_the_code():
    form = Form(3, 7, "unfold", n_code=4)
    p = form.views(parameters.orthogonal(form, np.random.default_rng(0), np.dtype(np.float64)))
    np.testing.assert_allclose(p["V_ch"] @ p["W_hc"], np.eye(4), atol=1e-14)
    np.testing.assert_array_equal(p["V_ch"], p["W_hc"].T)
    assert not p["b_c"].any() and not p["c_1"].any()
