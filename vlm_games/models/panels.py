"""Matrices cut into panels of columns, for products of few rows on CPUs.

    kernel        [K, N]          a row lies N numbers behind the one before
    kernel_panels [N / P, K, P]   a panel lies in one piece

A product of few rows reads its matrix once and does little with it. XLA's CPU
library takes some tens of columns at a time: of the matrix as it is from places
far apart, of a panel one after the other, at the speed of memory.

Params hold panels beside the kernel, as they hold low-rank terms (`low_rank`):
the same model runs with and without. The kernel is for products of more rows.
"""

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp

PANELS = "kernel_panels"
ROWS = 16  # most rows of a product that uses them: beyond, they gain little
WIDEST, STEP = 96, 16  # columns of a panel; they are a multiple of STEP


def cut(params) -> dict[tuple[str, ...], jax.Array]:
    """Panels of every matrix of the decoder and of its head, by their path.

    A matrix that does not split into panels of one width has none.
    """
    flat = flax.traverse_util.flatten_dict(params)
    return {
        (*path[:-1], PANELS): panels
        for path, x in flat.items()
        if path[0] in ("decoder", "head") and path[-1] == "kernel"
        if (panels := _cut(x, path[-2])) is not None
    }


def put(params, panels):
    """Params with what `cut` gave beside the kernels."""
    flat = flax.traverse_util.flatten_dict(params)
    return flax.traverse_util.unflatten_dict({**flat, **panels})


def _cut(kernel, name: str):
    # Of queries and keys the columns have two axes, of "out" the rows.
    columns = kernel.shape[-1] if name == "out" else kernel[0].size
    widths = range(min(WIDEST, columns // 2), STEP - 1, -1)
    fitting = [p for p in widths if not (columns % p or p % STEP)]
    if not fitting:
        return None
    panels = kernel.reshape(-1, columns // fitting[0], fitting[0])
    return jnp.swapaxes(panels, 0, 1)


def use_panels(next_function, args, kwargs, context):
    """Interceptor for `nn.intercept_methods`: linear maps of few rows."""
    module = context.module
    is_linear = isinstance(module, nn.Dense | nn.DenseGeneral)
    if context.method_name != "__call__" or not is_linear:
        return next_function(*args, **kwargs)
    if not module.has_variable("params", PANELS):
        return next_function(*args, **kwargs)
    (x,) = args
    panels = module.get_variable("params", PANELS).astype(module.dtype)
    count, size, width = panels.shape
    rows = x.size // size
    if rows > ROWS:
        return next_function(*args, **kwargs)
    # A product per panel; the rows are few enough to stand beside each.
    x = x.astype(module.dtype)
    beside = jnp.broadcast_to(x.reshape(rows, size), (count, rows, size))
    y = jnp.einsum("nrk,nkp->nrp", beside, panels)
    axis = getattr(module, "axis", -1)
    contracted = len(axis) if isinstance(axis, tuple) else 1
    features = module.features
    features = features if isinstance(features, tuple) else (features,)
    y = jnp.swapaxes(y, 0, 1).reshape(*x.shape[:-contracted], *features)
    if module.use_bias:
        y = y + module.get_variable("params", "bias").astype(y.dtype)
    return y
