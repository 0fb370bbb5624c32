"""What is left to the data: n_hidden=None, patch_length="auto", and how many passes of max_iter="auto" are worth it."""

import numpy as np
import pytest
from problems import everything

from rae_fast import RAE, sizes, trial

RNG = np.random.default_rng(0)
# Sequences that one angle tells apart, far from any plane; and noise, in which there is nothing to learn.
ANGLES = RNG.uniform(0, 2 * np.pi, 130)
CURVED = np.exp(3 * np.cos(np.arange(24) / 4 - ANGLES[:, None]))[:, :, None]
NOISE = RNG.standard_normal((130, 6, 2))
SMOOTH = np.cumsum(np.cumsum(RNG.standard_normal((120, 60, 1)), axis=1), axis=1)


@pytest.mark.parametrize("n_code, n_sequences, expected", [
    (None, 10, 24), (None, 10**6, 24), (4, 10**6, 38), (8, 10**6, 44), (16, 10**6, 56), (8, 60, 8), (3, 60, 8),
    (16, 60, 16), (8, 99, 8), (8, 100, 33), (8, 150, 44), (60, 110, 60), (1, 1, 8)])
def test_units_follow_from_the_code_and_the_number_of_sequences(n_code, n_sequences, expected):
    assert sizes.hidden_units(n_code, n_sequences) == expected


def shape(model):
    """n_hidden and patch_length of a fitted model."""
    return model.initial_state().size, model._learned.patch_length


def test_the_defaults_choose_and_say_nothing_else():
    assert shape(RAE(max_iter=0).fit(SMOOTH)) == (24, 1)
    assert shape(RAE(n_code=3, max_iter=0, random_state=0).fit(SMOOTH)) == (36, 5)
    assert shape(RAE(20, n_code=3, max_iter=0, random_state=0).fit(SMOOTH)) == (20, 5)
    assert shape(RAE(20, n_code=3, patch_length=7, max_iter=0).fit(SMOOTH)) == (20, 7)
    assert shape(RAE(n_code=3, max_iter=0).fit(SMOOTH[:99])) == (8, 1)                 # few
    assert shape(RAE(n_code=3, max_iter=0).fit(SMOOTH[:, :17])) == (36, 1)             # short
    assert shape(RAE(n_code=3, max_iter=0, init="orthogonal").fit(SMOOTH)) == (36, 1)  # nothing to choose by
    one_hot = np.eye(3)[np.random.default_rng(0).integers(0, 3, (120, 40))]
    assert shape(RAE(n_code=3, max_iter=0, output="softmax").fit(one_hot)) == (36, 1)
    ragged = [x[:n] for x, n in zip(SMOOTH, RNG.integers(40, 61, len(SMOOTH)))]
    assert shape(RAE(n_code=3, max_iter=0, random_state=0).fit(ragged)) == (36, 4)
    model = RAE(n_code=3, max_iter=0)
    assert (model.n_hidden, model.patch_length) == (None, "auto")
    with pytest.raises(ValueError, match="n_code=9 must not be larger than n_hidden=8"):
        RAE(8, n_code=9).fit(SMOOTH)


@pytest.mark.parametrize("no_worse, length", [(0.0, 1), (1e9, 5)])
def test_patches_are_only_taken_where_they_lose_no_more(monkeypatch, no_worse, length):
    monkeypatch.setattr(sizes, "_NO_WORSE", no_worse)
    assert shape(RAE(n_code=3, random_state=0, max_iter=0).fit(SMOOTH))[1] == length


def test_patches_are_judged_on_sequences_held_out():
    calls = []

    class Watched(np.random.Generator):
        def permutation(self, n):
            calls.append(n)
            return super().permutation(n)

    RAE(n_code=4, max_iter=0, random_state=Watched(np.random.PCG64(0))).fit(SMOOTH)
    assert calls == [len(SMOOTH)]


def test_a_choice_is_the_same_for_any_unit_and_any_number_of_threads():
    for factor in (2.0**-300, 1.0, 2.0**200):
        assert shape(RAE(n_code=3, max_iter=0, random_state=0, n_jobs=2).fit(factor * SMOOTH)) == (36, 5)


def test_noise_is_left_with_the_closed_form():
    model = RAE(n_code=3, random_state=0).fit(NOISE)
    closed = RAE(n_code=3, random_state=0, max_iter=0).fit(NOISE)
    assert model.n_iter_ == 0 and model.loss_curve_ == [] and model.n_updates_ == 0
    np.testing.assert_array_equal(model.theta_, closed.theta_)


def test_what_generalises_is_trained():
    few, unseen = CURVED[:110], CURVED[110:]
    model = RAE(20, n_code=2, random_state=0).fit(few)
    closed = RAE(20, n_code=2, random_state=0, max_iter=0).fit(few)
    assert model.n_iter_ == len(model.loss_curve_) > 100
    assert model.reconstruction_error(unseen).sum() < 0.5 * closed.reconstruction_error(unseen).sum()


def test_only_automatic_passes_of_some_hundred_sequences_are_tried(monkeypatch):
    tried = []
    monkeypatch.setattr(trial, "best",
                        lambda start, errors, forms, batch, *rest: (forms[0], tried.append(batch.n_sequences) or 1))
    for X, options in ((NOISE, {"max_iter": 2}), (NOISE, {"early_stopping": True, "n_iter_no_change": 1}),
                       (NOISE, {"init": "orthogonal"}), (NOISE, {"n_code": None}), (NOISE[:99], {}),
                       (np.tile(NOISE, (4, 1, 1)), {"max_iter": 2}), (NOISE, {"solver": "lbfgs", "tol": 1.0})):
        RAE(**{"n_code": 2, "random_state": 0, "tol": 1e9, "n_iter_no_change": 1} | options).fit(X)
    assert tried == []
    assert RAE(n_code=2, random_state=0).fit(NOISE).n_iter_ == 1
    assert tried == [len(NOISE)]


def test_a_fit_after_a_trial_is_resumed_with_the_same_bits(tmp_path, monkeypatch):
    monkeypatch.setattr(trial, "best", lambda start, errors, forms, *rest: (forms[-1], 7))
    options = {"n_code": 2, "random_state": 0}
    whole = RAE(**options).fit(CURVED)
    assert whole.n_iter_ == 7 and shape(whole)[0] == 24
    RAE(**options, checkpoint=tmp_path / "fit", report_every=1, callbacks=lambda m: m.n_iter_ == 3).fit(CURVED)
    monkeypatch.setattr(trial, "best", None)  # known from the file
    resumed = RAE(**options, checkpoint=tmp_path / "fit").fit(CURVED, resume=True)
    np.testing.assert_equal(everything(resumed), everything(whole))
    again = RAE(**options, checkpoint=tmp_path / "fit").fit(CURVED, resume=True)
    np.testing.assert_equal(everything(again), everything(whole))


def test_a_closed_form_that_was_best_has_a_checkpoint_too(tmp_path, monkeypatch):
    monkeypatch.setattr(trial, "best", lambda start, errors, forms, *rest: (forms[0], 0))
    model = RAE(n_code=2, random_state=0, checkpoint=tmp_path / "fit").fit(CURVED)
    monkeypatch.setattr(trial, "best", None)
    again = RAE(n_code=2, random_state=0, checkpoint=tmp_path / "fit").fit(CURVED, resume=True)
    np.testing.assert_equal(everything(again), everything(model))
    np.testing.assert_array_equal(RAE.load(tmp_path / "fit").theta_, model.theta_)
    closed = RAE(n_code=2, random_state=0, max_iter=0).fit(CURVED)
    np.testing.assert_array_equal(model.theta_, closed.theta_)


@pytest.mark.parametrize("better, worse, n_hidden", [(35, 24, 35), (24, 35, 24)])
def test_fewer_units_are_taken_where_they_are_clearly_better(monkeypatch, better, worse, n_hidden):
    """The rule gives 32 + 3/2 * 2 units; 24 are tried as well."""
    def useful_passes(learned, alone, errors, part, weights, judge, *rest):
        lost = {better: 1.0, worse: 1.1}[learned.form.n_hidden]
        return 1, np.full(judge.batch.n_sequences, lost)

    monkeypatch.setattr(trial, "_useful_passes", useful_passes)
    assert shape(RAE(n_code=2, random_state=0).fit(CURVED[:110]))[0] == n_hidden
    # Nothing else is tried where a user has chosen.
    assert shape(RAE(worse, n_code=2, random_state=0).fit(CURVED[:110]))[0] == worse


@pytest.mark.parametrize("n_code, n_hidden, expected", [(4, 38, [24]), (16, 56, [24]), (20, 62, [28]), (4, 24, []),
                                                        (90, 98, []), (90, 99, [98]), (None, 60, [])])
def test_fewer_units_hold_the_code(n_code, n_hidden, expected):
    assert sizes.others(RAE(n_code=n_code)._settings(), n_hidden) == expected
    assert sizes.others(RAE(n_hidden, n_code=n_code)._settings(), n_hidden) == []


@pytest.mark.parametrize("unit", [2.0**-400, 1.0, 2.0**400])
@pytest.mark.parametrize("share", [None, np.array([0.5, 1.0, 0.0, 2.0])])
def test_better_means_more_than_chance(unit, share):
    share = np.ones(4) if share is None else share
    judge = trial._Judge(None, share / share.sum())
    than = unit * np.array([1.0, 2.0, 3.0, 4.0])
    assert judge.clearly_better(0.9 * than, than)
    assert not judge.clearly_better(0.995 * than, than)                          # not enough
    assert not judge.clearly_better(1.1 * than, than)
    assert not judge.clearly_better(than * [1, 1, 1, 0.2], than)                 # one sequence says nothing
    assert not judge.clearly_better(than * np.nan, than)
    assert not judge.clearly_better(than * [1, 1, 1, np.inf], than)
    assert not judge.clearly_better(0 * than, 0 * than)


def test_a_paired_test_is_scipys():
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(0)
    judge = trial._Judge(None, np.full(30, 1 / 30))
    for shift in np.linspace(0, 0.4, 30):
        than = rng.uniform(1, 2, 30)
        found = than - shift + 0.5 * rng.standard_normal(30)
        enough = (than - found).mean() >= trial._LESS * than.mean()
        assert judge.clearly_better(found, than) == (enough and stats.ttest_rel(than, found).statistic >= trial._SURE)


def test_a_trial_changes_no_bit_with_threads_and_ends_in_an_error_with_its_fit():
    X = CURVED[:105, :6]
    models = [RAE(20, n_code=2, random_state=0, n_jobs=n).fit(X) for n in (1, 3)]
    np.testing.assert_equal(everything(models[0]), everything(models[1]))
    before = everything(models[0])
    models[0].learning_rate = 1e300
    with pytest.raises(FloatingPointError, match="(?i)lower learning_rate"):
        models[0].fit(X)
    np.testing.assert_equal(everything(models[0]), before)


def test_a_trial_starts_as_its_fit_does(monkeypatch):
    """Four fifths of a hundred sequences bend as much as all of them."""
    lost = []
    original = trial.stepper

    def stepper(learned, batch, *rest):
        start = RAE(learned.form.n_hidden, n_code=2, max_iter=0, random_state=0).fit(CURVED[:100])
        start.theta_ = learned.theta
        lost.append(start.reconstruction_error(CURVED[:100]).sum())
        return original(learned, batch, *rest)

    monkeypatch.setattr(trial, "stepper", stepper)
    closed = RAE(n_code=2, max_iter=0, random_state=0).fit(CURVED[:100]).reconstruction_error(CURVED[:100]).sum()
    RAE(n_code=2, random_state=0, report_every=1, callbacks=lambda m: True).fit(CURVED[:100])
    assert lost[0] > 2 * closed
