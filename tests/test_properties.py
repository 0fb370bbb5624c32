"""Properties over random shapes, contents and memory layouts (hypothesis)."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from problems import PLAIN

from rae_fast import RAE, reference
from rae_fast._form import Form

settings.register_profile("rae", deadline=None, max_examples=60, derandomize=True)
settings.load_profile("rae")

numbers = st.floats(-1e3, 1e3, width=32)
lengths = st.lists(st.integers(1, 40), min_size=1, max_size=12)


@given(lengths, st.integers(1, 20), st.integers(1, 20), st.sampled_from([np.float32, np.float64]), st.integers(0, 99))
def test_any_shape_agrees_with_the_reference(seed, lengths, I, H, dtype, n):
    rng = np.random.default_rng([n, seed])
    X = [rng.standard_normal((T, I)).astype(dtype) for T in lengths]
    model = RAE(H, **{**PLAIN, "max_iter": 0}, init_scale=0.3, random_state=n).fit(X)
    theta, data = model.theta_.astype(float), np.concatenate(X).astype(float)
    offsets = np.cumsum([0, *lengths])
    states = reference.hidden_states(theta, data, offsets, Form(I, H))
    eps = 500 * np.finfo(dtype).eps
    np.testing.assert_allclose(np.concatenate(model.hidden_states(X)), states, rtol=0, atol=eps)
    loss, grad = reference.loss_and_grad(theta, data, offsets, None, Form(I, H))
    found, _ = model.loss_and_grad(X)
    assert abs(found - loss) <= eps * loss
    back = np.concatenate(model.inverse_transform(model.transform(X), lengths))
    np.testing.assert_array_equal(np.concatenate(model.reconstruct(X)), back)


@given(lengths, st.permutations(range(12)), st.integers(0, 99))
def test_the_order_of_a_batch_does_not_matter(seed, lengths, order, m):
    X = [np.random.default_rng([m, n, seed]).standard_normal((T, 3)) for n, T in enumerate(lengths)]
    order = [n for n in order if n < len(X)]
    model = RAE(5, **{**PLAIN, "max_iter": 0}, random_state=m).fit(X)
    moved = [X[n] for n in order]
    np.testing.assert_allclose(model.transform(moved), model.transform(X)[order], rtol=0, atol=1e-14)
    loss, grad = model.loss_and_grad(X)
    other, other_grad = model.loss_and_grad(moved)
    assert abs(loss - other) <= 1e-12 * loss
    for name in grad:
        np.testing.assert_allclose(other_grad[name], grad[name], rtol=0, atol=1e-11)


@given(lengths, st.integers(1, 12), st.integers(0, 99))
def test_gradients_of_parts_add_up(seed, lengths, cut, m):
    X = [np.random.default_rng([m, n, seed]).standard_normal((T, 2)) for n, T in enumerate(lengths)]
    model = RAE(6, **{**PLAIN, "max_iter": 0}, random_state=m).fit(X)
    whole = model.loss_and_grad(X, sample_weight=np.ones(len(X)))
    parts = [model.loss_and_grad(part, sample_weight=np.ones(len(part))) for part in (X[:cut], X[cut:]) if part]
    assert abs(sum(p[0] for p in parts) - whole[0]) <= 1e-12 * whole[0]
    for name, expected in whole[1].items():
        np.testing.assert_allclose(sum(p[1][name] for p in parts), expected, rtol=0, atol=1e-10)


anything = hnp.arrays(
    dtype=st.one_of(hnp.floating_dtypes(), hnp.integer_dtypes(), hnp.boolean_dtypes(), hnp.complex_number_dtypes(),
                    hnp.unicode_string_dtypes(max_len=3), hnp.datetime64_dtypes()),
    shape=hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5))


@given(st.one_of(anything, st.lists(anything, max_size=4), st.recursive(st.one_of(st.none(), numbers, st.text()),
                                                                         st.lists, max_leaves=8)))
def test_any_input_works_or_is_refused_in_one_sentence(X):
    model = RAE(3, max_iter=2, learning_rate=1e-9, random_state=0).fit(np.eye(3))
    theta = model.theta_.copy()
    for call in (model.transform, model.fit):
        try:
            call(X)
        except ValueError as error:
            assert str(error) and "\n" not in str(error)
            np.testing.assert_array_equal(model.theta_, theta)
        except FloatingPointError:
            assert call == model.fit and np.isfinite(model.theta_).all()
