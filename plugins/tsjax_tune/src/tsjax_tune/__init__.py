"""Hyperparameter search with Ray Tune."""

from tsjax_tune.hp_optimizer import HPOptimizer
from tsjax_tune.results import StudyResult, TrialResult

__all__ = ["HPOptimizer", "StudyResult", "TrialResult"]
