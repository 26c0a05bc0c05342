"""What the plugin `pinn` registers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tsjax_core.protocols import ModelSpec
from tsjax_core.registry.hookspecs import hookimpl


@hookimpl
def tsjax_models() -> Mapping[str, type[ModelSpec]]:
    """Return the models of `pinn`."""
    from tsjax_pinn.ddpinn import DDPINN
    from tsjax_pinn.grey_box import GreyBox
    from tsjax_pinn.pinc import PINC
    from tsjax_pinn.pirnn import PIRNN

    models: dict[str, Any] = {
        "pirnn": PIRNN,
        "pinc": PINC,
        "ddpinn": DDPINN,
        "grey_box": GreyBox,
    }
    return models


@hookimpl
def tsjax_losses() -> Mapping[str, Callable[..., Any]]:
    """Return the losses of `pinn`."""
    from tsjax_pinn.balance import balance_gradients
    from tsjax_pinn.collocation import collocation_loss
    from tsjax_pinn.consistency import consistency
    from tsjax_pinn.physics import physics_loss
    from tsjax_pinn.surrogate_loss import surrogate_loss

    return {
        "physics_loss": physics_loss,
        "collocation_loss": collocation_loss,
        "surrogate_loss": surrogate_loss,
        "consistency": consistency,
        "balance_gradients": balance_gradients,
    }
