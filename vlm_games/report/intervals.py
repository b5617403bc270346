"""What several seeds say together."""

from collections.abc import Sequence

import numpy as np
import scipy.stats


def interval(values: Sequence[float]) -> dict:
    """Mean and half the 95% interval of the mean (Student's t), and all.

    Returns:
      mean, half_width (0 of one value) and values, rounded to 0.01.
    """
    x = np.array(values, float)
    half = 0.0
    if len(x) > 1:
        quantile = scipy.stats.t.ppf(0.975, len(x) - 1)
        half = quantile * x.std(ddof=1) / np.sqrt(len(x))
    return {
        "mean": round(float(x.mean()), 2),
        "half_width": round(float(half), 2),
        "values": [round(float(v), 2) for v in x],
    }
