"""Ray for the time of a study, without its messages and its usage statistics."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tsjax_core.errors import ConfigError

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # The newer output prints tables even where nothing is to be printed.
    "RAY_AIR_NEW_OUTPUT": "0",
    # Results of one trial are in its JSON and CSV files; event files would stand beside them.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_WARN_THRESHOLD_S": "60",
    # What is lost with a process that is killed: a study is small, and written in milliseconds.
    "TUNE_GLOBAL_CHECKPOINT_S": "0.5",
    # Ctrl-C ends a study at once, which goes on from its last checkpoints.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    # Under `uv run` every worker would get a copy of the working directory and an environment of
    # its own, built anew.
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
}
"""Settings of Ray that hold unless the environment has others."""


@contextmanager
def ray_session(options: Mapping[str, Any] | None = None) -> Iterator[None]:
    """Have Ray running in the block; a Ray that runs already is used and left running.

    `options` are arguments of `ray.init`, such as `num_cpus`, `object_store_memory` in bytes, or
    the `address` of a cluster.

    Raises:
        ConfigError: Ray does not know an option, or there is no cluster at the address.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    # Ray's modules use names that their own dependencies deprecate.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import ray
        from ray._private import ray_constants
    # It is read when ray is imported, which may have been before.
    if os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] == "0":
        ray_constants.RAY_ENABLE_UV_RUN_RUNTIME_ENV = False
    if ray.is_initialized():
        with _quiet_loggers():
            yield
        return
    given = dict(options or {})
    # A cluster decides by itself what it has.
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    if "address" not in given:
        given["address"] = "local"
        quiet["include_dashboard"] = False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ray.init(**{**quiet, **given})
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ConfigError(
            f"Ray did not start with {given}: {error} Give options of ray.init, and as address "
            "that of a running cluster, or auto for the one of this machine. A cluster that asks "
            "for a token wants it in the environment variable RAY_AUTH_TOKEN.",
            key="address",
        ) from error
    try:
        with _quiet_loggers():
            yield
    finally:
        ray.shutdown()


@contextmanager
def _quiet_loggers() -> Iterator[None]:
    # What a failed trial raised is in its row; Ray would print the traceback as well.
    loggers = [logging.getLogger(name) for name in ("ray", "ray.tune", "ray.train", "ray.air")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
