"""Several devices that share the windows of each batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding

from tsjax_core.checks import whole_number
from tsjax_core.errors import ConfigError
from tsjax_core.training.checkpoints.packing import is_key
from tsjax_core.types import Batch

# Neither the class nor the function is annotated in jax.
_Spec: Any = jax.sharding.PartitionSpec
_constrain: Any = jax.lax.with_sharding_constraint

_SHARE = "share"


def count_cores_as(n_devices: int) -> None:
    """Let the cores of the processor count as `n_devices` devices, if nothing is computed yet."""
    # Later it cannot be changed, and what needs the devices says that they are missing.
    config: Any = jax.config
    with suppress(RuntimeError):
        config.update("jax_num_cpu_devices", n_devices)


class Placement:
    """Where the arrays of a training live: batches spread over devices, all else on each of them.

    The compiler divides the work by where the windows are, and sums over the devices whatever is a
    sum or mean over the batch; losses and models need not know. With several processes
    (`jax.distributed`), each holds the windows of its own devices.

    Args:
        n_devices: Devices to use, the first of `jax.devices()`.
        windows: Windows in a batch.

    Raises:
        ConfigError: There are fewer devices, or they cannot have equal shares of a batch.
    """

    def __init__(self, n_devices: int, windows: int) -> None:
        self.n_devices = whole_number("devices", n_devices, "devices", least=1)
        self.replicated: NamedSharding | None = None
        self._mesh: Mesh | None = None
        if self.n_devices == 1 and jax.process_count() == 1:
            return
        present = jax.devices()
        if len(present) < self.n_devices:
            raise ConfigError(
                f"devices = {self.n_devices}, and jax has {len(present)} "
                f"({present[0].platform}). Give a smaller number; the cores of a processor count "
                f'as {self.n_devices} devices after jax.config.update("jax_num_cpu_devices", '
                f"{self.n_devices}), before anything is computed.",
                key="devices",
            )
        if self.n_devices != len(present) and jax.process_count() > 1:
            raise ConfigError(
                f"devices = {self.n_devices}, and the {jax.process_count()} processes have "
                f"{len(present)} together. Give {len(present)}: no process may be without work.",
                key="devices",
            )
        if windows % self.n_devices:
            raise ConfigError(
                f"devices = {self.n_devices} cannot have equal shares of a batch of {windows} "
                "windows; give a number of devices that divides it, or another bs.",
                key="devices",
            )
        self._mesh = Mesh(np.asarray(present[: self.n_devices]), (_SHARE,))
        self.replicated = NamedSharding(self._mesh, _Spec())

    def everywhere(self, tree: Any) -> Any:
        """Return `tree` on every device."""
        if self.replicated is None:
            return tree
        return jax.tree.map(lambda x: self._put(x, _Spec()), tree)

    def spread(self, feed: Any) -> Any:
        """Return arrays (steps, batch, ...) with their second axis spread over the devices."""
        if self._mesh is None:
            return feed
        return jax.tree.map(lambda x: self._put(x, _Spec(None, _SHARE)), feed)

    def spread_members(self, tree: Any) -> Any:
        """Return arrays (members, ...) with their first axis spread over the devices."""
        if self._mesh is None:
            return tree
        return jax.tree.map(lambda x: self._put(x, _Spec(_SHARE)), tree)

    def by_members(
        self, function: Callable[..., Any], spread: Sequence[bool]
    ) -> Callable[..., Any]:
        """Return `function` such that each device calls it with its members alone.

        `spread` says of each argument whether its arrays are (members, ...) and spread; so are
        all results. Other arguments are everywhere.
        """
        if self._mesh is None:
            return function
        specs = tuple(_Spec(_SHARE) if each else _Spec() for each in spread)
        # Without the check, because its types of arrays are not those of a model's loops.
        return jax.shard_map(
            function, mesh=self._mesh, in_specs=specs, out_specs=_Spec(_SHARE), check_vma=False
        )

    def constrain(self, batch: Batch) -> Batch:
        """State to the compiler that the windows of `batch` are spread; called while tracing."""
        if self._mesh is None:
            return batch
        spread = NamedSharding(self._mesh, _Spec(_SHARE))
        return {name: _constrain(x, spread) for name, x in batch.items()}

    def local(self, tree: Any) -> Any:
        """Return arrays that every device holds as arrays of one device of this process."""
        if self.replicated is None:
            return tree
        return jax.tree.map(lambda x: x.addressable_data(0), tree)

    def _put(self, x: Any, spec: Any) -> Any:
        assert self._mesh is not None
        if is_key(x):
            data = self._put(jax.random.key_data(x), spec)
            return jax.random.wrap_key_data(data, impl=jax.random.key_impl(x))
        host = np.asarray(x)
        sharding = NamedSharding(self._mesh, spec)
        # Every process has the whole value, and gives its devices their parts of it.
        return jax.make_array_from_callback(host.shape, sharding, lambda part: host[part])
