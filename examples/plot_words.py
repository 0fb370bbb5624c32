"""
Words, lines and trees
======================

Lines of text as sequences of words, given back from one vector; and the same lines as trees that the model finds.
"""

from rae_fast import RAE, TreeRAEClassifier, Vocabulary, plotting

LINES = ["a fine film", "a dull film",
         "a fine play with a fine cast", "a dull play with a dull cast",
         "the cast is fine", "the cast is dull", "the film is fine", "the play is dull"]
vocabulary = Vocabulary().fit(LINES)
ids = vocabulary.encode(LINES)
model = RAE(24, n_features=len(vocabulary), random_state=0).fit(ids)
for line, back in zip(LINES, vocabulary.decode(model.reconstruct(ids))):
    print(f"{line:32} {back}")

# %%
# How well words come back, by how far they lie back.

plotting.recall(model, ids)

# %%
# Labels of lines, learned with the trees that are found for them.

y = ["good", "bad"] * 4
options = {"min_count": 1, "max_iter": 150, "learning_rate": 0.01, "random_state": 0}
classifier = TreeRAEClassifier(16, **options).fit(LINES, y)
print(classifier.predict(["a fine play", "the film is dull"]))
plotting.tree(classifier.trees(LINES)[2], LINES[2].split())
