"""From text to ids and back."""

import json
import pickle

import numpy as np
import pytest

from rae_fast import RAE, Vocabulary

LINES = ["the cat saw the dog", "a dog saw", "naïve cats 🐈", "the  end"]


def test_words_characters_and_tokens():
    words = Vocabulary().fit(LINES)
    assert words.symbols_[:2] == ["<unk>", "the"] and words.symbols_[2:4] == ["dog", "saw"] and len(words) == 10
    ids = words.encode(LINES)
    assert [x.dtype for x in ids] == [np.intp] * 4 and words.decode(ids)[:3] == LINES[:3]
    characters = Vocabulary("characters").fit(LINES)
    assert characters.decode(characters.encode(LINES)) == LINES and len(characters.encode(LINES)[2]) == 12
    tokens = Vocabulary("tokens").fit([line.split() for line in LINES])
    assert tokens.symbols_ == words.symbols_
    assert tokens.decode(tokens.encode([["the", "zebra"]])) == [["the", "<unk>"]]


def test_rare_and_unknown_symbols():
    rare = Vocabulary(min_count=2).fit(LINES)
    assert rare.symbols_ == ["<unk>", "the", "dog", "saw"]
    assert rare.decode(rare.encode(["the cat saw"])) == ["the <unk> saw"]
    strict = Vocabulary(unknown=None).fit(LINES)
    assert "<unk>" not in strict.symbols_
    with pytest.raises(ValueError, match="line 1 has 'zebra', which has no number"):
        strict.encode(["the", "a zebra"])
    named = Vocabulary(unknown="the").fit(LINES)
    assert named.symbols_.count("the") == 1 and named.symbols_[0] == "the"


@pytest.mark.parametrize("make, message", [
    (lambda: Vocabulary("letters").fit(LINES), "level must be one of"),
    (lambda: Vocabulary(min_count=0).fit(LINES), "min_count must be"),
    (lambda: Vocabulary(min_count=True).fit(LINES), "min_count must be"),
    (lambda: Vocabulary(unknown=3).fit(LINES), "unknown must be None or a string"),
    (lambda: Vocabulary(unknown=None, min_count=9).fit(LINES), "no symbol occurs 9 times"),
    (lambda: Vocabulary().fit("the cat"), "lines is one string"),
    (lambda: Vocabulary().fit([b"the cat"]), "line 0 is a bytes"),
    (lambda: Vocabulary().fit([["the"]]), "lists of tokens need level='tokens'"),
    (lambda: Vocabulary("tokens").fit(["the"]), "line 0 is no list of strings"),
    (lambda: Vocabulary("tokens").fit([3]), "line 0 is no list of strings"),
    (lambda: Vocabulary("tokens").fit([["a", 3]]), "line 0 is no list of strings"),
    (lambda: Vocabulary().fit(None), "lines is of type NoneType"), (lambda: Vocabulary().fit([3]), "line 0 is a int"),
    (lambda: Vocabulary().encode(LINES), "call fit first"),
    (lambda: Vocabulary().decode([[1]]), "call fit first"),
    (lambda: Vocabulary().fit(LINES).encode(["a", " "]), "line 1 has no symbols"),
    (lambda: Vocabulary().fit(LINES).decode([[1, 10]]), "element 0 has the id 10, but there are 10 symbols"),
    (lambda: Vocabulary().fit(LINES).decode([[1], [-1]]), "element 1 has the id -1"),
    (lambda: Vocabulary().fit(LINES).decode([[1.0]]), "element 0 is no sequence of integer ids"),
])
def test_what_does_not_fit_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_files(tmp_path):
    vocabulary = Vocabulary("characters", min_count=2).fit(LINES)
    vocabulary.save(tmp_path / "v.json")
    for again in (Vocabulary.load(tmp_path / "v.json"), pickle.loads(pickle.dumps(vocabulary))):
        assert vars(again) == vars(vocabulary)
    text = vocabulary.to_json()
    parts = json.loads(text)
    for wrong in ("", "[]", "{}", text[:-1], "[" * 10**5, json.dumps(parts | {"format": "x"}),
                  json.dumps(parts | {"symbols": [1]}), json.dumps(parts | {"symbols": ["a", "a"]}),
                  json.dumps(parts | {"level": "x"}), json.dumps(parts | {"unknown": "zz"}),
                  json.dumps(parts | {"more": 1})):
        with pytest.raises(ValueError):
            Vocabulary.from_json(wrong)


def test_iterators_and_numpy_integers_are_taken():
    assert Vocabulary("tokens", min_count=np.int64(1)).fit([iter(["a", "b"])]).symbols_ == ["<unk>", "a", "b"]
    assert Vocabulary(min_count=np.int64(2)).fit(iter(LINES)).symbols_ == ["<unk>", "the", "dog", "saw"]


def test_a_file_is_there_whole_or_not_at_all(tmp_path):
    Vocabulary().fit(LINES).save(tmp_path / "v.json")
    before = (tmp_path / "v.json").read_bytes()
    with pytest.raises(ValueError, match="cannot be written in UTF-8"):
        Vocabulary("tokens").fit([["\ud800"]]).save(tmp_path / "v.json")
    assert (tmp_path / "v.json").read_bytes() == before and len(list(tmp_path.iterdir())) == 1
    with pytest.raises(OSError):
        Vocabulary().fit(LINES).save(tmp_path / "no" / "v.json")


def test_a_model_file_can_hold_one(tmp_path):
    vocabulary = Vocabulary().fit(LINES)
    X = vocabulary.encode(LINES)
    model = RAE(8, n_features=len(vocabulary), max_iter=3, random_state=0).fit(X)
    with pytest.raises(AttributeError, match="was not loaded from a file with a vocabulary"):
        assert model.vocabulary_
    model.save(tmp_path / "with", vocabulary=vocabulary)
    again = RAE.load(tmp_path / "with")
    assert vars(again.vocabulary_) == vars(vocabulary)
    again.save(tmp_path / "again")
    assert vars(RAE.load(tmp_path / "again").vocabulary_) == vars(vocabulary)
    assert vars(pickle.loads(pickle.dumps(again)).vocabulary_) == vars(vocabulary)
    model.save(tmp_path / "without")
    with pytest.raises(AttributeError):
        assert RAE.load(tmp_path / "without").vocabulary_
    larger = Vocabulary("characters").fit(LINES)
    for wrong, message in ((larger, "at most 10 symbols"), (Vocabulary(), "it has 0"), ("the", "got str")):
        with pytest.raises(ValueError, match=message):
            model.save(tmp_path / "wrong", vocabulary=wrong)
    vocabulary.unknown = "zzz"
    with pytest.raises(ValueError, match="vocabulary cannot be written: level or unknown"):
        model.save(tmp_path / "wrong", vocabulary=vocabulary)
    assert not (tmp_path / "wrong").exists()
