"""One checkpoint on disk: a directory that Orbax writes, with numbers, facts, and checksums."""

from __future__ import annotations

import json
import logging
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tsjax_core.errors import CheckpointError
from tsjax_core.training.checkpoints.packing import Layout, Packed
from tsjax_core.types import HostArray

if TYPE_CHECKING:
    import orbax.checkpoint as ocp

FORMAT = 2
_ARRAY = "state"


version_of = cache(version)
"""Version of an installed distribution; reading it takes as long as writing a checkpoint."""


@contextmanager
def quiet_orbax() -> Iterator[None]:
    """Keep Orbax from printing what it also raises, and tsjax reports as an error."""

    def is_not_orbax(record: logging.LogRecord) -> bool:
        return "orbax" not in Path(record.pathname).parts

    logger = logging.getLogger("absl")
    logger.addFilter(is_not_orbax)
    try:
        yield
    finally:
        logger.removeFilter(is_not_orbax)


@dataclass(frozen=True)
class Stored:
    """What one checkpoint holds: packed arrays with their layout, and the facts beside them."""

    data: HostArray
    layout: Layout
    facts: Mapping[str, Any]


@contextmanager
def open_writer() -> Iterator[ocp.AsyncCheckpointer]:
    """Give what writes checkpoints in the background, and close it."""
    import orbax.checkpoint as ocp

    # One array gains nothing from a database of arrays, which takes twice as long to write.
    handler = ocp.PyTreeCheckpointHandler(use_ocdbt=False)
    # A directory that cannot be made is reported at once then, and not by threads that wait for it.
    options = ocp.options.AsyncOptions(create_directories_asynchronously=False)
    with quiet_orbax():
        writer = ocp.AsyncCheckpointer(handler, async_options=options)
        try:
            yield writer
        finally:
            # It raises once more what waiting for the last checkpoint has raised.
            with suppress(Exception):
                writer.close()


def begin_write(
    writer: ocp.AsyncCheckpointer, path: Path, packed: Packed, facts: Mapping[str, Any]
) -> None:
    """Begin to write a checkpoint to `path`, which appears when all of it is there."""
    import orbax.checkpoint as ocp

    description = {
        "format": FORMAT,
        "tsjax-core": version_of("tsjax-core"),
        "checksum": zlib.crc32(packed.data.tobytes()),
        "layout": packed.layout,
        "facts": facts,
    }
    text = json.dumps(description)
    # Orbax keeps these beside the arrays; as text they have one checksum for all.
    metadata = {"text": text, "checksum": zlib.crc32(text.encode())}
    arrays = ocp.args.PyTreeSave({_ARRAY: packed.data})
    writer.save(path.absolute(), args=arrays, custom_metadata=metadata)


def read_checkpoint(path: Path) -> Stored:
    """Return the checkpoint at `path`.

    Raises:
        CheckpointError: It is damaged, or another version of tsjax-core wrote it.
    """
    import orbax.checkpoint as ocp

    with quiet_orbax(), ocp.PyTreeCheckpointer() as reader:
        try:
            metadata = reader.metadata(path.absolute())
            written, arrays = metadata.custom_metadata, metadata.item_metadata
            if not written or arrays is None:
                raise ValueError("files are missing")  # noqa: TRY301 - reported below as all damage
            if zlib.crc32(written["text"].encode()) != written["checksum"]:
                raise ValueError("its facts do not match their checksum")  # noqa: TRY301 - as above
            description = json.loads(written["text"])
            _check_writer(path, description)
            empty = np.empty(arrays.tree[_ARRAY].shape, np.uint8)
            data = reader.restore(path.absolute(), item={_ARRAY: empty})[_ARRAY]
            if zlib.crc32(data.tobytes()) != description["checksum"]:
                raise ValueError("its numbers do not match their checksum")  # noqa: TRY301 - as above
        except CheckpointError:
            raise
        except Exception as error:
            text = " ".join(str(error).split())
            raise CheckpointError(
                f"the checkpoint {path} is damaged ({type(error).__name__}: {text[:200]}).",
                path=path,
            ) from error
    layout = [(name, dtype, tuple(shape)) for name, dtype, shape in description["layout"]]
    return Stored(data, layout, description["facts"])


def _check_writer(path: Path, description: Mapping[str, Any]) -> None:
    here, there = version_of("tsjax-core"), description["tsjax-core"]
    if there != here or description["format"] != FORMAT:
        raise CheckpointError(
            f"the checkpoint {path} was written by tsjax-core {there}, and this is {here}; another "
            "version may compute other numbers. Install that one to go on: "
            f"pip install tsjax-core=={there}",
            path=path,
        )
