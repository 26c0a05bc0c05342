"""What scores do not say, in sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from tsjax_core.experiments.report import NamedEvaluation
    from tsjax_core.training.evaluation import Evaluation


def print_remarks(
    console: Console, evaluation: Evaluation, reference: NamedEvaluation | None
) -> None:
    """Print where the simulations began, and what the scores do not say."""
    from tsjax_core.experiments.report import early_errors, flat_outputs
    from tsjax_core.judging.reference import describe_reference

    console.print(f"initial state: {evaluation.initial_state}")
    sentences = [early_errors(evaluation), flat_outputs(evaluation)]
    if reference is not None:
        sentences.append(describe_reference(evaluation, reference.evaluation, reference.name))
    for sentence in sentences:
        if sentence:
            console.print(f"note: {sentence}")
