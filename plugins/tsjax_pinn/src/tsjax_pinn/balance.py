"""The weight of a loss balanced by gradients: as large for the parameters as another loss."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from tsjax_core.checks import positive
from tsjax_core.losses.regression import normalized_mse
from tsjax_core.protocols import LossTerm, ModelSpec
from tsjax_core.signatures import Declared, declare, name_of
from tsjax_core.types import AnyArray, Array


@dataclass(frozen=True)
class _BalancedLoss:
    """The loss that `balance_gradients` returns."""

    loss: Declared
    reference: Declared
    most: float

    @property
    def __name__(self) -> str:
        return self.loss.name

    @property
    def wants(self) -> frozenset[str]:
        """What the loss declares, and what it takes to run the model again."""
        both = self.loss.wants | self.reference.wants
        return both | {"model", "batch", "key", "progress"}

    def __call__(
        self,
        pred: AnyArray,
        target: AnyArray,
        y_mean: AnyArray,
        y_std: AnyArray,
        **given: Any,
    ) -> Array:
        """Return the value."""
        values = (target, y_mean, y_std)
        weight = self._weight(pred.shape[1], values, given)
        value: Array = self.loss(pred, *values, given=given)
        return jax.lax.stop_gradient(weight) * value

    def _weight(self, n: int, values: tuple[AnyArray, ...], given: Mapping[str, Any]) -> Array:
        """Return the ratio of the gradient norms, for predictions of the last `n` samples."""
        graphdef, params, *rest = nnx.split(given["model"], nnx.Param, ...)
        params, rest = jax.lax.stop_gradient((params, rest))
        wants_aux = "aux" in self.loss.wants | self.reference.wants

        def norm(term: Declared) -> Array:
            def of(params: Any) -> Array:
                model: Any = nnx.merge(graphdef, params, *rest, copy=True)
                pred, aux = _run(model, given, wants_aux=wants_aux)
                seen = {**given, "model": model, "aux": aux}
                value: Array = term(pred[:, -n:], *values, given=seen)
                return value

            size: Array = optax.tree.norm(jax.grad(of)(params))
            return size

        size = norm(self.loss)
        # Where the loss has no gradient, its weight does not matter, and must not be NaN.
        ratio = norm(self.reference) / jnp.where(size > 0.0, size, 1.0)
        return jnp.minimum(ratio, self.most)


def _run(model: Any, given: Mapping[str, Any], *, wants_aux: bool) -> tuple[Array, Any]:
    """Return output and intermediate values of the model for the batch, as in training."""
    batch, reads = given["batch"], _reads_of(model)
    offered = {"key": given["key"], "batch": batch, "progress": given["progress"]}
    options = {name: offered[name] for name in declare("model", model, reads).wants}
    inputs = [batch[name] for name in reads]
    if wants_aux:
        output, aux = model.call_with_aux(*inputs, **options)
        return output, aux
    return model(*inputs, **options), {}


def _reads_of(model: Any) -> Sequence[str]:
    """Return the batch keys that a model takes."""
    spec = getattr(model, "spec", None)
    if isinstance(spec, ModelSpec):
        return tuple(spec.reads)
    parameters = inspect.signature(model).parameters.values()
    return tuple(p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD)


def balance_gradients(
    loss: LossTerm, reference: LossTerm = normalized_mse, most: float = 1e6
) -> LossTerm:
    """`loss`, weighted in every step so that its gradient is as large as that of `reference`.

    The weight is the ratio of the norms of both gradients for all parameters, and itself has no
    gradient. The weight that is given beside the loss then says how large its gradient is: 0.1 for
    a tenth of that of `reference`. The model is run and differentiated once more for each of the
    two. It keeps the name of `loss` in the history.

    Source: Wang, Teng and Perdikaris, Understanding and mitigating gradient flow pathologies in
    physics-informed neural networks (2021), here with norms over all parameters.

    Args:
        loss: The loss that is weighted, such as `physics_loss`.
        reference: The loss whose gradient it is to match, as it would be with the weight 1.
        most: Largest weight, where the gradient of `loss` vanishes.

    Raises:
        SignatureError: One of them is no loss.
        ConfigError: `most` is no finite number above 0.
    """
    positive("most", most, of=f"balance_gradients of {name_of(loss)!r}")
    return _BalancedLoss(declare("loss", loss), declare("loss", reference), most)
