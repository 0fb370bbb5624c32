"""make demo: the original 2014 experiment, and handwritten digits, trained and shown.

(a) The experiment of "Recursive Auto-encoders: Example in Theano": 24 hidden units read the 8 rows of
    np.eye(8) and give them back, plain SGD 1e-4, one million updates; once with the rows in the same
    order every time, as in the post's text, once shuffled before every update, as in its full program; and
    the second task again with what this package does by default.
(b) scikit-learn's handwritten digits, each image a sequence of 8 rows of 8 pixels: learned on 1400
    images, judged on the other 397.
(c) The same images in codes of eight numbers, beside principal components.
(d) Phrases of the documentation that Python carries with it (pydoc_data), read letter by letter: phrases that were
    never seen, beside what came back of their codes.
(e) A dozen sentences, read as trees that the model finds: neighbours that give each other back best are joined first.
"""

import argparse
import importlib
import itertools
import textwrap
import time
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

import rae_fast
from rae_fast import RAE, TreeRAE, Vocabulary, plotting, trees

SYMBOLS = 8
# The full program draws a new order for every update. Here the orders of a million updates are
# PASSES passes over ORDERS random ones: the same distribution, in 20 MB instead of 512.
ORDERS = 40_000


def recall_depth(model, X):
    """How many of the last inputs the unrolled code recalls, per sequence, and per position the share."""
    latest_first = model.unroll(model.transform(X), X.shape[1]).argmax(axis=2)
    right = latest_first == X[:, ::-1].argmax(axis=2)
    return np.cumprod(right, axis=1).sum(axis=1), right.mean(axis=0)


def saved(figure, path):
    figure.savefig(path, dpi=120)
    plt.close(figure)
    print(f"  wrote {path}")


def picture_of_the_post(rows, path):
    """The post's picture: the input above, its unrolled reproduction below, in reverse."""
    figure, axes = plt.subplots(2, len(rows), figsize=(4 * len(rows), 7), layout="constrained", squeeze=False)
    for column, (title, X, unrolled) in enumerate(rows):
        for axis, image, name in ((axes[0, column], X, "input"),
                                  (axes[1, column], unrolled, "unrolled from the last code, in reverse")):
            axis.imshow(image, cmap="gray", vmin=0, vmax=1)
            axis.set_xlabel("symbol")
            axis.set_ylabel("step" if axis is axes[0, column] else "step back from the last")
            axis.set_title(f"{title}\n{name}" if axis is axes[0, column] else name, fontsize=10)
    saved(figure, path)


def timed_fit(model, X, updates):
    start = time.perf_counter()
    model.fit(X)
    seconds = time.perf_counter() - start
    print(f"  {updates:,} updates in {seconds:.1f} s, {seconds / updates * 1e6:.2f} us each; "
          f"last loss {model.loss_curve_[-1]:.3g}")


def original_experiment(updates, folder):
    print(f"(a) The original experiment: np.eye({SYMBOLS}), 24 hidden units, SGD 1e-4, {updates:,} updates each")
    recipe = {"objective": "stepwise", "decoder": "linear", "init": "normal", "init_scale": 0.1, "solver": "sgd",
              "relative_rates": False, "learning_rate": 1e-4, "schedule": "constant", "batch_size": 1,
              "random_state": 0, "verbose": 1}
    eye = np.eye(SYMBOLS)

    print("\n  The same order every time (the post's text):")
    same = RAE(24, max_iter=updates, **recipe)
    timed_fit(same, eye, updates)
    depth, _ = recall_depth(same, eye[None])
    print(f"  recalls the last {depth[0]} of {SYMBOLS} inputs")

    print("\n  Shuffled before every update (its full program, where the post recalled 3 of 8):")
    rng = np.random.default_rng(0)
    orders = min(ORDERS, updates)
    X = eye[rng.permuted(np.tile(np.arange(SYMBOLS), (orders, 1)), axis=1)]
    passes = max(1, round(updates / orders))
    shuffled = RAE(24, max_iter=passes, **recipe)
    timed_fit(shuffled, X, passes * orders)
    every_order = eye[np.array(list(itertools.permutations(range(SYMBOLS))))]
    depth, share = recall_depth(shuffled, every_order)
    print(f"  over all {len(depth):,} orders the last {depth.mean():.2f} inputs are recalled without a mistake "
          f"(least {depth.min()}, most {depth.max()})")
    print("  right at each position, latest first: " + "  ".join(f"{s:.0%}" for s in share))
    print("  (why not more, and what does better: docs/design.md, 'Why the original recalled three of eight')\n")

    print("  The same task and 24 units with the defaults of this package and output=\"softmax\":")
    ours = RAE(24, output="softmax", batch_size=256, max_iter=20, random_state=0, verbose=1)
    timed_fit(ours, every_order.astype(np.float32), ours.max_iter * -(-len(every_order) // ours.batch_size))
    depth, _ = recall_depth(ours, every_order)
    print(f"  {np.count_nonzero(depth == SYMBOLS):,} of {len(depth):,} orders are recalled whole\n")
    example = every_order[12345]
    picture_of_the_post(
        [("same order every time", eye, same.unroll(same.transform(eye), SYMBOLS)[0]),
         ("shuffled before every update", example, shuffled.unroll(shuffled.transform(example), SYMBOLS)[0]),
         ("unfold, softmax, Adam", example, ours.unroll(ours.transform(example), SYMBOLS)[0])],
        folder / "original.png")


def order_of_images():
    return np.random.default_rng(0).permutation(1797)


def images_of_digits():
    """1400 images to learn from, and the other 397."""
    images = load_digits().images[order_of_images()] / 16
    return images[:1400], images[1400:]


def rows_of_images(rows, path):
    """Images side by side, a row for each name."""
    n = len(next(iter(rows.values())))
    figure, axes = plt.subplots(len(rows), n, figsize=(n, 1.2 * len(rows)), layout="constrained")
    for line, (name, images) in zip(axes, rows.items()):
        for axis, image in zip(line, images):
            axis.imshow(image, cmap="gray_r", vmin=0, vmax=1)
            axis.set_xticks([])
            axis.set_yticks([])
        line[0].set_ylabel(name)
    saved(figure, path)


def digits(folder):
    print("\n(b) Handwritten digits: 1797 images as sequences of 8 rows of 8 pixels, 32 hidden units")
    train, held_out = images_of_digits()
    start_model = RAE(32, max_iter=0, random_state=0).fit(train)
    model = RAE(32, random_state=0, verbose=1)
    start = time.perf_counter()
    model.fit(train)
    variance = ((held_out - train.mean(axis=0)) ** 2).sum(axis=(1, 2)).mean()
    error = model.reconstruction_error(held_out).mean()
    print(f"  {model.n_iter_} passes over {len(train)} images in {time.perf_counter() - start:.1f} s")
    print(f"  loss {model.loss_curve_[0]:.3f} in the first pass, {model.loss_curve_[-1]:.3f} in the last")
    print(f"  held-out unrolled error {error:.3f} a sequence (training images "
          f"{model.reconstruction_error(train).mean():.3f}); the closed form it started from "
          f"{start_model.reconstruction_error(held_out).mean():.3f}; always showing the mean image {variance:.3f}")

    axis = plotting.loss_curve(model)
    axis.set_title("Digits: loss curve")
    saved(axis.figure, folder / "digits_loss.png")
    axis = plotting.codes(model.transform(held_out), load_digits().target[order_of_images()[1400:]])
    axis.set_title("Digits never seen: their codes")
    saved(axis.figure, folder / "digits_codes.png")
    rows_of_images({"held out": held_out[:12], "unrolled": model.reconstruct(held_out[:12])}, folder / "digits.png")


def small_codes(folder):
    print("\n(c) The same images in codes of 8 numbers: PCA, and RAE(n_code=8)")
    train, held_out = images_of_digits()
    pca = PCA(8).fit(train.reshape(len(train), -1))
    by_pca = pca.inverse_transform(pca.transform(held_out.reshape(len(held_out), -1))).reshape(held_out.shape)
    model = RAE(n_code=8, random_state=0, verbose=1)
    start = time.perf_counter()
    model.fit(train)
    seconds = time.perf_counter() - start
    ours = model.reconstruct(held_out)
    whole = ((held_out - train.mean(axis=0)) ** 2).sum()
    lost = {name: ((back - held_out) ** 2).sum() / whole for name, back in (("PCA", by_pca), ("ours", ours))}
    print(f"  codes {model.transform(held_out).shape}, {seconds:.1f} s; of the variance of held-out images PCA loses "
          f"{lost['PCA']:.1%}, ours {lost['ours']:.1%}")
    rows_of_images({"held out": held_out[:12], f"PCA, 8\n{lost['PCA']:.0%} lost": by_pca[:12],
                    f"ours, 8\n{lost['ours']:.0%} lost": ours[:12]}, folder / "digits_code.png")


def phrases():
    """Pieces of 20 to 28 letters of Python's own documentation; none where that was left out of the installation."""
    try:
        topics = importlib.import_module("pydoc_data.topics").topics
    except ImportError:
        return []
    paragraphs = [" ".join(part.split()) for text in topics.values() for part in text.split("\n\n")
                  if not part.startswith("   ")]
    pieces = {piece for paragraph in paragraphs for piece in textwrap.wrap(paragraph, 28)}
    return sorted(piece for piece in pieces if len(piece) >= 20 and piece.isascii())


def letters():
    print("\n(d) Letter by letter: phrases of Python's documentation as token ids, 96 hidden units")
    found = phrases()
    if not found:
        print("  left out: this Python came without pydoc_data")
        return
    order = np.random.default_rng(0).permutation(len(found))
    learn, held_out = ([found[i] for i in some] for some in (order[500:], order[:500]))
    vocabulary = Vocabulary("characters").fit(learn)
    model = RAE(96, n_features=len(vocabulary), dtype="float32", learning_rate=1.0, max_iter=8, random_state=0,
                verbose=1)
    start = time.perf_counter()
    model.fit(vocabulary.encode(learn))
    unseen = vocabulary.encode(held_out)
    print(f"  {len(learn):,} phrases of {len(vocabulary)} different letters in {time.perf_counter() - start:.1f} s; of "
          f"{len(held_out)} phrases never seen {model.score(unseen, metric='symbols'):.1%} of the letters come back, "
          f"{model.score(unseen, metric='sequences'):.0%} of the phrases whole. Some, beside what came back:")
    for phrase, back in zip(held_out[:8], vocabulary.decode(model.reconstruct(unseen[:8]))):
        print(f"    {phrase:28} | {back}")


SENTENCES = """the film is slow but the actors are good
the actors are good and the story is good
the story is slow and the music is dull
a good story and a good film
a dull film with dull music
the music of the film is good
a film with good actors but a dull story
the first part of the story is slow
the last part of the film is good
a slow start but a good end
the end of the story is dull
the start of the film is good but slow""".splitlines()


def sentences(folder):
    print("\n(e) A dozen sentences as trees: TreeRAE(tree='greedy'), codes of 16 numbers")
    model = TreeRAE(16, tree="greedy", min_count=1, max_iter=300, learning_rate=0.01, random_state=0)
    start = time.perf_counter()
    model.fit(SENTENCES)
    words = [line.split() for line in SENTENCES]
    found = model.trees(SENTENCES)
    back = model.vocabulary_.decode(model.reconstruct(SENTENCES))
    right = sum(a == b for line, again in zip(words, back) for a, b in zip(line, again))
    print(f"  {model.n_iter_} passes in {time.perf_counter() - start:.1f} s; a node gives back its two children with "
          f"an error of {model.reconstruction_error(SENTENCES).mean():.2f} on average (first pass "
          f"{model.loss_curve_[0]:.2f});\n  unrolled from the root, which is not what was trained, {right} of "
          f"{sum(map(len, words))} words come back. The first sentence:")
    print(textwrap.indent(trees.draw(found[0], words[0]), "    "))
    figure, axes = plt.subplots(4, 3, figsize=(15, 11), layout="constrained")
    for ax, tree, line in zip(axes.ravel(), found, words):
        plotting.tree(tree, line, ax=ax)
    figure.suptitle("Which words a greedy tree joins first")
    saved(figure, folder / "trees.png")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--updates", type=int, default=1_000_000, help="updates of each original experiment")
    parser.add_argument("--folder", type=Path, default=Path("demo"), help="where the pictures go")
    options = parser.parse_args()
    if options.updates < 1:
        parser.error("--updates must be at least 1")
    options.folder.mkdir(parents=True, exist_ok=True)
    rae_fast.show_config()
    print()
    original_experiment(options.updates, options.folder)
    digits(options.folder)
    small_codes(options.folder)
    letters()
    sentences(options.folder)


if __name__ == "__main__":
    main()
