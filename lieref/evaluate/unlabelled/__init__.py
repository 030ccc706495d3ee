"""Learning from samples without labels: statistics of all, and pseudo-labels of those that teachers are sure of."""

from lieref.evaluate.unlabelled.pseudo_labels import LeftOutWarning, PseudoLabels
from lieref.evaluate.unlabelled.self_training import SelfTrained, self_train

__all__ = ["LeftOutWarning", "PseudoLabels", "SelfTrained", "self_train"]
