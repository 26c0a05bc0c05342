"""Every form of the causal convolution against flax's own layer, and from chunk to chunk."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tsjax_core.errors import ModelError
from tsjax_tcn.convolution import causal_conv, convolved, sum_of_taps, unfolded


def draw(*shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(sum(shape)).standard_normal(shape), jnp.float32)


def flax_conv(x, kernel, bias, dilation):
    taps, n_in, n_out = kernel.shape
    conv = nnx.Conv(
        n_in, n_out, (taps,), padding="CAUSAL", kernel_dilation=dilation, rngs=nnx.Rngs(0)
    )
    conv.kernel[...], conv.bias[...] = kernel, bias
    return conv(x)


def chosen(x, kernel, dilation, cache):
    return causal_conv(x, kernel, None, dilation, cache)


FORMS = [convolved, unfolded, sum_of_taps, chosen]


@pytest.mark.parametrize("n_in,n_out", [(1, 6), (3, 5), (20, 3)])
@pytest.mark.parametrize("taps,dilation", [(1, 1), (3, 4), (5, 8)])
def test_every_form_is_flaxs_causal_convolution(n_in, n_out, taps, dilation):
    """Values, and gradients of inputs, kernel and bias, to 1e-5; some taps reach before x."""
    x, kernel, bias = draw(2, 19, n_in), draw(taps, n_in, n_out) / (taps * n_in), draw(n_out)
    weights = draw(2, 19, n_out) / (2 * 19 * n_out)
    forms = [lambda *args: flax_conv(*args, dilation)]
    forms += [lambda x, k, b, form=form: form(x, k, dilation, None) + b for form in FORMS]

    @jax.jit
    def values_and_gradients(*args):
        pulled = [jax.vjp(form, *args) for form in forms]
        return [(y, pull(weights)) for y, pull in pulled]

    expected, *others = values_and_gradients(x, kernel, bias)
    for got in others:
        for one, other in zip(*map(jax.tree.leaves, (got, expected)), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("n_in,n_out", [(1, 6), (3, 5), (20, 3)])
@pytest.mark.parametrize("cut", [1, 12])
def test_a_cache_takes_the_place_of_earlier_inputs(n_in, n_out, cut):
    """The rest of a sequence after a cache of its beginning, shorter or longer than the cache."""
    taps, dilation = 3, 2
    reach = (taps - 1) * dilation
    x, kernel = draw(2, 15, n_in), draw(taps, n_in, n_out) / (taps * n_in)

    @jax.jit
    def whole_and_rests(x, kernel):
        cache = jnp.pad(x[:, :cut], ((0, 0), (reach, 0), (0, 0)))[:, -reach:]
        whole = flax_conv(x, kernel, jnp.zeros(n_out), dilation)
        return whole, [form(x[:, cut:], kernel, dilation, cache) for form in FORMS]

    whole, rests = whole_and_rests(x, kernel)
    for rest in rests:
        np.testing.assert_allclose(rest, whole[:, cut:], atol=1e-5)


@pytest.mark.parametrize("n_in,n_out", [(1, 6), (3, 5), (20, 3)])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("rows,length", [(2, 3), (2, 5), (2, 0), (1, 4)])
def test_a_cache_of_another_shape_is_refused(n_in, n_out, form, rows, length):
    """Inputs too few or too many, or of another batch size: told when traced, by every form."""
    x, kernel = draw(2, 15, n_in), draw(3, n_in, n_out)
    with pytest.raises(ModelError) as caught:
        jax.eval_shape(
            lambda x, kernel, cache: form(x, kernel, 2, cache),
            x,
            kernel,
            jnp.zeros((rows, length, n_in)),
        )
    print(caught.value)
    for part in (f"have shape {(rows, length, n_in)}", f"needs {(2, 4, n_in)}", "initial_state"):
        assert part in str(caught.value)


def test_derivatives_of_every_order_and_mode_exist():
    """Forward over reverse, as physics losses and second-order methods take them."""
    for n_in, n_out in ((1, 4), (3, 4), (20, 20)):
        x, kernel = draw(1, 9, n_in), draw(2, n_in, n_out)

        def loss(kernel, x=x):
            return jnp.sum(jnp.tanh(causal_conv(x, kernel, None, 2)))

        @jax.jit
        def derivatives(kernel, loss=loss):
            _, product = jax.jvp(jax.grad(loss), (kernel,), (jnp.ones_like(kernel),))
            _, along = jax.jvp(loss, (kernel,), (jnp.ones_like(kernel),))
            return jax.grad(loss)(kernel), along, product

        gradient, along, product = derivatives(kernel)
        np.testing.assert_allclose(along, gradient.sum(), rtol=1e-4, atol=1e-4)
        assert np.abs(np.asarray(product)).max() > 0.0


@pytest.mark.parametrize("n_in,n_out,length", [(1, 64, 9), (8, 8, 300_000), (64, 64, 9)])
def test_a_processor_gets_products(n_in, n_out, length):
    """Another device gets XLA's convolution, but for a single channel."""
    arguments = (
        jax.ShapeDtypeStruct((1, length, n_in), jnp.float32),
        jax.ShapeDtypeStruct((2, n_in, n_out), jnp.float32),
    )
    traced = jax.make_jaxpr(lambda x, k: causal_conv(x, k, None, 2))(*arguments)
    other = jax.default_backend() != "cpu" and n_in > 1
    assert str(traced).count("conv_general_dilated[") == int(other)


def test_taps_before_the_first_sample_cost_nothing():
    """With a dilation beyond the sequence one product is left, whatever the kernel's size."""
    x, kernel = draw(1, 9, 1), draw(5, 1, 3)
    traced = str(jax.make_jaxpr(lambda x, k: causal_conv(x, k, None, 100))(x, kernel))
    assert traced.count("dot_general[") == 1
    np.testing.assert_allclose(causal_conv(x, kernel, None, 100), x @ kernel[-1], atol=1e-6)
