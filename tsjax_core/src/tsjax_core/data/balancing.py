"""Weights by which files, categories or ranges of a value get equal shares of an epoch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tsjax_core.checks import whole_number
from tsjax_core.data.sources import FullSequenceSource
from tsjax_core.data.weighting import WeightedSource, checked_column, checked_weights
from tsjax_core.errors import ConfigError
from tsjax_core.protocols import AttributeStore, ResidentSource, Source
from tsjax_core.types import HostArray

_LABELS = "biufUS"


def file_weights(source: Source) -> HostArray:
    """Return weights by which each file gets the same share, however many windows it has.

    Each window has 1 / (windows of its file), float64, (len(source),). Raises ConfigError for a
    source that does not know the files of its windows (it is no ResidentSource).
    """
    return _equal_shares(_files_of(source), None)


def category_weights(
    labels: Sequence[Any] | HostArray, *, base: Sequence[float] | HostArray | None = None
) -> HostArray:
    """Return weights by which each label gets the same share.

    Each window has 1 / (windows of its label), float64, (n,).

    Args:
        labels: Numbers, texts or truth values, one for each window, (n,). `window_attributes` and
            `window_values` give what belongs to files.
        base: Weights that the result is to be multiplied with, (n,). The labels then get equal
            shares of the product: the sum of the base of a label stands for its windows.

    Raises ConfigError for labels that are not one-dimensional, not of one kind, or NaN.
    """
    values = checked_column("labels", labels, "windows", kinds=_LABELS)
    if values.dtype.kind == "f" and np.isnan(values).any():
        raise ConfigError(
            f"labels[{np.flatnonzero(np.isnan(values))[0]}] is NaN; give it a label of its own, "
            "or the window the weight 0.",
            key="labels",
        )
    _, groups = np.unique(values, return_inverse=True)
    return _equal_shares(groups, base)


def value_weights(
    values: Sequence[float] | HostArray,
    bins: int = 10,
    *,
    quantiles: bool = False,
    base: Sequence[float] | HostArray | None = None,
) -> HostArray:
    """Return weights by which a value is spread evenly over its range.

    The range is divided in bins, closed on the left and the last one on both sides. Each bin that
    holds a window gets the same share, or with `quantiles` a share in proportion to its width.

    Args:
        values: One finite number for each window, (n,).
        bins: Number of bins.
        quantiles: Bins of about equally many windows, at most as many as there are different
            values, and weights width / (windows of the bin), instead of bins of equal width and
            1 / (windows of the bin). Windows beside a gap in the values then stand for the gap.
        base: Weights that the result is to be multiplied with, as for `category_weights`.

    Returns float64, (n,). Raises ConfigError for values that are not finite numbers, (n,).
    """
    given = checked_column("values", values, "windows").astype(np.float64)
    if not np.isfinite(given).all():
        first = np.flatnonzero(~np.isfinite(given))[0]
        raise ConfigError(
            f"values[{first}] is {given[first]}; a value to balance by is finite.", key="values"
        )
    bins = whole_number("bins", bins, least=1)
    if quantiles:
        bins = min(bins, len(np.unique(given)))
        edges = np.unique(np.quantile(given, np.linspace(0, 1, bins + 1)))
        # Between equal values a bin may be empty, and its width belongs to the values above it.
        counts, _ = np.histogram(given, edges)
        edges = np.concatenate([edges[:1], edges[1:][counts > 0]])
    else:
        edges = np.unique(np.linspace(given.min(), given.max(), bins + 1))
    groups = np.searchsorted(edges[1:-1], given, side="right")
    weights = _equal_shares(groups, base)
    widths = np.diff(edges)
    return weights * widths[groups] if quantiles and widths.size else weights


def window_attributes(source: Source, name: str) -> HostArray:
    """Return the file attribute `name` of each window's file, (len(source),).

    `source` is a `WindowedSource`, weighted or not. An element of an array attribute is
    `name:index`. Raises ConfigError for another source and where the files carry no attributes,
    and what the store raises: MissingSignalError, UnsupportedDatasetError.
    """
    records = _records_of(source)
    store = records.store
    lacking = ConfigError(
        f"{name!r} is asked for as an attribute of the files, and {type(store).__name__} reads "
        "none from these; only HDF5 files carry attributes. Give labels by window_values.",
        key="name",
    )
    if not isinstance(store, AttributeStore):
        raise lacking
    try:
        rows = [store.read_attributes(path, [name]) for path in records.paths]
    except ConfigError as error:
        raise lacking from error
    return window_values(source, np.concatenate(rows).astype(np.float64))


def window_values(source: Source, values: Sequence[Any] | HostArray) -> HostArray:
    """Return for each window the one of `values` that belongs to its file, (len(source),).

    `values` has one for each file, in the order of the files, also those too short for a window.
    Raises ConfigError for another number of values, and as `file_weights`.
    """
    n = len(_records_of(source).paths)
    each = checked_column("values", values, "files", n=n, kinds=_LABELS)
    return each[_files_of(source)]


def balancing_weights(source: Source, balance: str) -> HostArray:
    """Return `file_weights` for "files", else weights by which the values of an attribute balance.

    Raises ConfigError with the key `balance`.
    """
    if not isinstance(balance, str) or not balance:
        raise ConfigError(
            f'balance is {balance!r}; give "files" or the name of a file attribute.', key="balance"
        )
    if balance == "files":
        return file_weights(source)
    try:
        return category_weights(window_attributes(source, balance))
    except ConfigError as error:
        raise ConfigError(f"balance = {balance!r}: {error}", key="balance") from error


def _equal_shares(groups: HostArray, base: Sequence[float] | HostArray | None) -> HostArray:
    """Return 1 / (sum of the base of the group) for each member, 0 where that sum is 0."""
    counted = None if base is None else checked_weights("base", base, len(groups))
    sums = np.bincount(groups, counted).astype(np.float64)
    inverse = np.divide(1.0, sums, out=np.zeros_like(sums), where=sums > 0)
    return inverse[groups]


def _files_of(source: Source) -> HostArray:
    if not isinstance(source, ResidentSource):
        raise ConfigError(
            f"source is a {type(source).__name__}, which does not know the files of its windows "
            "(it is no ResidentSource); compute the weights from what is known of them.",
            key="source",
        )
    return source.locate(np.arange(len(source)))[1]


def _records_of(source: Any) -> FullSequenceSource:
    while isinstance(source, WeightedSource):
        source = source.source
    records = getattr(source, "records", None)
    if not isinstance(records, FullSequenceSource):
        raise ConfigError(
            f"source is a {type(source).__name__}; only a source whose `records` are the files, "
            "such as a WindowedSource, weighted or not, has their attributes.",
            key="source",
        )
    return records
