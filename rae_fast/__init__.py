"""Recursive auto-encoders on the CPU: exact back-propagation in compiled kernels.

RAE and RAEClassifier are models of sequences, TreeRAE and TreeRAEClassifier those of trees, Vocabulary turns text into
the ids that they read; reference is the same mathematics in readable NumPy; show_config tells what this process
computes with.
"""

import sys

from rae_fast._config import show_config
from rae_fast._estimator import NotFittedError
from rae_fast.detector import RAEDetector
from rae_fast.rae import RAE
from rae_fast.rae_classifier import RAEClassifier
from rae_fast.sequence_scaler import SequenceScaler
from rae_fast.size_choice import CodeSizes, code_sizes
from rae_fast.stream_detector import StreamDetector
from rae_fast.stretches import fold, windows
from rae_fast.tree import TreeRAE
from rae_fast.tree_classifier import TreeRAEClassifier
from rae_fast.trees import Tree, read_tree
from rae_fast.vocabulary import Vocabulary

__version__ = "0.1.0"
__all__ = ["CodeSizes", "RAE", "NotFittedError", "RAEClassifier", "RAEDetector", "SequenceScaler", "StreamDetector",
           "Tree", "TreeRAE", "TreeRAEClassifier", "Vocabulary", "code_sizes", "fold", "read_tree", "show_config",
           "windows", "__version__"]

# "import rae_fast.RAE" is a promised spelling, though RAE is a class and no module.
sys.modules[f"{__name__}.RAE"] = RAE  # type: ignore[assignment]
