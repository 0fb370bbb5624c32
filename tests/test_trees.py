"""Trees from text and from what users have: what is read, and one sentence for what is not a tree."""

import re

import numpy as np
import pytest

from rae_fast import Tree, read_tree, trees


@pytest.mark.parametrize("text, words, children, labels", [
    ("(a b)", ["b"], [], ["a"]),
    ("(b)", ["b"], [], [None]),
    ("(3 (2 It) (4 (4 works)))", ["It", "works"], [[0, 1]], ["2", "4", "3"]),
    ("((a) (b))", ["a", "b"], [[0, 1]], [None, None, None]),
    ("(S (NP (D the) (N cat)) (VP sat))", ["the", "cat", "sat"], [[0, 1], [3, 2]], ["D", "N", "VP", "NP", "S"]),
    ("(x a b)", ["a", "b"], [[0, 1]], [None, None, "x"]),
    ("(3 (2 a\u00a0b)\t(2\nc))", ["a\u00a0b", "c"], [[0, 1]], ["2", "2", "3"]),
])
def test_brackets(text, words, children, labels):
    tree = read_tree(text)
    assert tree.words == words and tree.children.tolist() == children and tree.labels == labels


@pytest.mark.parametrize("how, children", [
    ("left", [[0, 1], [4, 2], [5, 3]]), ("right", [[2, 3], [1, 4], [0, 5]]), ("balanced", [[0, 1], [2, 3], [4, 5]])])
def test_several_children(how, children):
    tree = read_tree("(x (a 1) (b 2) (c 3) (d 4))", how)
    assert tree.children.tolist() == children and tree.labels == ["a", "b", "c", "d", None, None, "x"]
    assert read_tree("(x (a 1) (b 2) (c 3))", how).labels[-1] == "x"


@pytest.mark.parametrize("text, message", [
    ("(a (b c)", "position 0: a bracket is not closed"), ("(a b))", "position 5: '[)]' stands outside"),
    ("(a b) (c d)", "position 6: a second tree begins"), ("", "the text holds no tree"), ("   ", "holds no tree"),
    ("()", "position 0: a bracket holds nothing"), ("(a () b)", "position 3: a bracket holds nothing"),
    ("word", "position 0: 'word' stands outside"), ("(a (b 1) (c 2) (d 3))",
                                                    "position 0: a node has 3 children.*binarize"),
])
def test_brackets_that_are_no_tree(text, message):
    with pytest.raises(ValueError, match=message):
        read_tree(text)


def test_a_hundred_thousand_brackets():
    n = 100_000
    tree = read_tree("(x " * (n - 1) + "a" + " b)" * (n - 1))
    assert len(tree.words) == n and tree.children[-1].tolist() == [2 * n - 3, n - 1]


@pytest.mark.parametrize("given", [[[0, 1], [3, 2]], ((0, 1), 2), Tree(["a", "b", "c"], np.array([[0, 1], [3, 2]]),
                                                                       [None] * 5)])
def test_what_a_tree_can_be(given):
    children, orders = trees.as_children([given, [[0, 1]]], np.array([3, 2]))
    assert children.tolist() == [[0, 1], [3, 2], [0, 1]] and orders == [None, None]


def test_parents_before_children_are_put_in_order():
    children, orders = trees.as_children([[[4, 2], [0, 1]]], np.array([3]))
    assert children.tolist() == [[0, 1], [3, 2]] and orders[0].tolist() == [0, 1, 2, 4, 3]


@pytest.mark.parametrize("given, message", [
    ([[0, 1], [4, 2]], "cycle, or several roots"), ([[0, 1], [0, 2]], "node 0 of tree 1 has two parents"),
    ([[0, 1], [3, 9]], "has the child 9; its nodes are 0 to 4"), ([[0, 1], [-1, 2]], "has the child -1"),
    ([[0, 1]], "has 1 inner nodes, but sequence 1 has 3 steps and needs 2"), ("abc", "is no array of two children"),
    ([[0.0, 1.0], [3.0, 2.0]], "is no array"), (((0, 1), 7), "has the leaf 7"), (((0, "x"), 1), "has 'x' where a leaf"),
    (((0, 0), 1), "node 0 of tree 1 has two parents"), (((((0, 1), 2), 0), 1), "has more inner nodes"), (None,
                                                                                                         "is no array"),
    ([[0, 1], [3]], "is no array"),
])
def test_what_is_no_tree(given, message):
    with pytest.raises(ValueError, match=message) as caught:
        trees.as_children([[[0, 1]], given], np.array([2, 3]))
    assert "\n" not in str(caught.value)


def test_another_number_of_trees():
    with pytest.raises(ValueError, match=re.escape("there are 1 trees for 2 sequences")):
        trees.as_children([[[0, 1]]], np.array([2, 2]))


def test_a_pair_that_holds_itself_is_refused():
    pair = [0, 1]
    pair[1] = pair
    with pytest.raises(ValueError, match="inner nodes|no array"):
        trees.as_children([(0, pair)], np.array([2]))
