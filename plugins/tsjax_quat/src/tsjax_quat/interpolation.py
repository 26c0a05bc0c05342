"""Between orientations: interpolation of two, and the average of many."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tsjax_core.losses.measured import root
from tsjax_core.types import AnyArray, Array
from tsjax_quat.algebra import library_of, normalize


def slerp(q: AnyArray, p: AnyArray, t: Any) -> AnyArray:
    """Return the orientation at the share `t` of the way from `q` to `p`, (..., 4).

    `t` (...) is 0 at `q` and 1 at `p`; beyond, the rotation goes on. The way is the shorter one,
    at constant rate about one axis, and the result has the sign that is nearer to `q`. Source:
    Shoemake, Animating rotation with quaternion curves (1985).
    """
    xp = library_of(q, p)
    q, p = normalize(q), normalize(p)
    t = xp.asarray(t, q.dtype)[..., None]
    p = xp.where(xp.sum(q * p, axis=-1, keepdims=True) < 0.0, -p, p)
    # The angle between q and p as vectors, at most pi / 2, exact at small ones.
    apart, sum_of = (xp.sum(xp.square(x), axis=-1, keepdims=True) for x in (p - q, p + q))
    angle = 2.0 * xp.arctan2(root(xp, apart), xp.sqrt(sum_of))
    small = angle < 1e-4
    sine = xp.sin(xp.where(small, 1.0, angle))
    first = xp.where(small, 1.0 - t, xp.sin((1.0 - t) * angle) / sine)
    second = xp.where(small, t, xp.sin(t * angle) / sine)
    return normalize(first * q + second * p)


def average(q: AnyArray, weights: AnyArray | None = None, axis: int = 0) -> AnyArray:
    """Return the orientation from which `q` (..., 4) differ least, along `axis`; w is 0 or more.

    It minimises the weighted sum of the squared sines of half the angles, whatever the signs of
    `q`. `weights` has the shape of `q` without the last axis, or one that broadcasts to it. Source:
    Markley et al., Averaging quaternions (2007).
    """
    xp = library_of(q) if weights is None else library_of(q, weights)
    q = normalize(xp.asarray(q))
    axis = axis % (q.ndim - 1) if axis >= 0 else axis % q.ndim
    scale = xp.ones_like(q[..., :1]) if weights is None else xp.asarray(weights, q.dtype)[..., None]
    moment = xp.sum((scale * q)[..., :, None] * q[..., None, :], axis=axis)
    top = np.linalg.eigh(moment)[1][..., -1] if xp is np else top_eigenvector(moment)
    mean: AnyArray = xp.where(top[..., :1] < 0.0, -top, top)
    return mean


@jax.custom_jvp
def top_eigenvector(matrix: Array) -> Array:
    """Return the eigenvector of the largest eigenvalue of symmetric matrices (..., n, n).

    Its derivative looks at the distance from the other eigenvalues alone, which may be equal to
    each other; jax's own is NaN then.
    """
    vector: Array = jnp.linalg.eigh(matrix)[1][..., -1]
    return vector


@top_eigenvector.defjvp
def _top_eigenvector_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    values, vectors = jnp.linalg.eigh(primals[0])
    top, others = vectors[..., -1], vectors[..., :-1]
    gap = values[..., -1:] - values[..., :-1]
    apart = gap > 1e-6 * jnp.abs(values[..., -1:])
    pull = jnp.einsum("...ji,...jk,...k->...i", others, tangents[0], top)
    share = jnp.where(apart, pull / jnp.where(apart, gap, 1.0), 0.0)
    return top, jnp.einsum("...ji,...i->...j", others, share)
