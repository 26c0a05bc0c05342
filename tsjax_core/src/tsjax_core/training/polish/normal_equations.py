"""Normal equations of whole records, put together from chunks that were linearized one by one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from tsjax_core.training.polish.simulation import BEGINS_AT_ZERO, BEGINS_RECORD
from tsjax_core.types import HostArray


@dataclass(frozen=True, eq=False)
class NormalEquations:
    """J'J and J'e, of the parameters (P, P) and of the initial state of each of R records.

    `mixed` is (R, S, P), `state` (R, S, S), `state_gradient` (R, S).
    """

    theta: HostArray
    gradient: HostArray
    mixed: HostArray
    state: HostArray
    state_gradient: HostArray


class ChunkGram(NamedTuple):
    """`ChunkJacobians` on the host, with the rows of the parameters summed to J'J and J'e."""

    theta: HostArray
    gradient: HostArray
    mixed: HostArray
    state: HostArray
    state_gradient: HostArray
    end_of_params: HostArray
    end_of_state: HostArray


class JoinedChunks:
    """Sums the normal equations of chunks in the order of time, which makes them exact.

    The outputs of a chunk depend on the parameters directly and by the state before it, of which
    the sensitivity to them is known when the chunks before it have been added.

    Args:
        n_params: Number of parameters P.
        n_states: Number of states S.
        n_records: Number of records R.
    """

    def __init__(self, n_params: int, n_states: int, n_records: int) -> None:
        self.sums = NormalEquations(
            np.zeros((n_params, n_params)),
            np.zeros(n_params),
            np.zeros((n_records, n_states, n_params)),
            np.zeros((n_records, n_states, n_states)),
            np.zeros((n_records, n_states)),
        )
        self._before = (np.zeros((n_states, n_params)), np.zeros((n_states, n_states)))

    def add(self, gram: ChunkGram, own: HostArray, begins: HostArray, records: HostArray) -> None:
        """Add chunks that follow the ones before.

        Args:
            gram: Their Jacobians.
            own: Derivative of the model's own initial state, (S, P).
            begins: Where the sensitivity before each comes from, (C,).
            records: To which record each belongs, (C,).
        """
        n_states, n_params = own.shape
        of_params = np.empty((len(begins), n_states, n_params))
        of_start = np.empty((len(begins), n_states, n_states))
        by_params, by_start = self._before
        for number, begin in enumerate(begins):
            if begin == BEGINS_RECORD:
                by_params, by_start = own, np.eye(n_states)
            elif begin == BEGINS_AT_ZERO:
                by_params, by_start = np.zeros_like(own), np.zeros((n_states, n_states))
            of_params[number], of_start[number] = by_params, by_start
            end = gram.end_of_state[number]
            by_params = gram.end_of_params[number] + end @ by_params
            by_start = end @ by_start
        self._before = (by_params, by_start)

        sums = self.sums
        through = gram.state @ of_params
        flat = of_params.reshape(-1, n_params)
        # (D + E X)' (D + E X), where D are rows of the parameters, E of the state, X its own.
        crossed = np.asarray(gram.mixed, float).reshape(-1, n_params).T @ flat
        sums.theta[...] += gram.theta + crossed + crossed.T
        sums.theta[...] += flat.T @ through.reshape(-1, n_params)
        sums.gradient[...] += gram.gradient + gram.state_gradient.reshape(-1) @ flat
        turned = np.swapaxes(of_start, 1, 2)
        for total, part in (
            (sums.mixed, turned @ (gram.mixed + through)),
            (sums.state, turned @ gram.state @ of_start),
            (sums.state_gradient, (turned @ gram.state_gradient[..., None])[..., 0]),
        ):
            np.add.at(total, records, part)
