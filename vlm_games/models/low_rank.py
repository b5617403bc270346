"""Low-rank terms of linear maps: y = x W + (x A) B, where params hold A and B.

    params[...]["query"] = {"kernel": W       [D, H, K],
                            "kernel_lora_a": A [in, rank],     in = D
                            "kernel_lora_b": B [rank, out]}    out = H * K

Whether a map has them is a matter of the params alone: the same model runs
with and without, and what is jitted compiles anew by itself. The names are
those of qwix. See `training.lora` for who puts them there.
"""

import flax.linen as nn

A, B = "kernel_lora_a", "kernel_lora_b"


def add_low_rank(next_function, args, kwargs, context):
    """Interceptor for `nn.intercept_methods`: adds (x A) B to linear maps."""
    y = next_function(*args, **kwargs)
    module = context.module
    is_linear = isinstance(module, nn.Dense | nn.DenseGeneral)
    if context.method_name != "__call__" or not is_linear:
        return y
    if not module.has_variable("params", A):
        return y
    a, b = (module.get_variable("params", name) for name in (A, B))
    (x,) = args
    axis = getattr(module, "axis", -1)
    contracted = len(axis) if isinstance(axis, tuple) else 1
    x = x.reshape(*x.shape[:-contracted], a.shape[0])
    added = x.astype(y.dtype) @ a.astype(y.dtype) @ b.astype(y.dtype)
    return y + added.reshape(y.shape)
