"""What `radii.lipschitz.forward` assumes of torch's float64 functions, on random arguments: no proof, a watchman."""

import mpmath
import numpy as np
import pytest
import torch

FUNCTIONS = {
    "exp": (torch.exp, mpmath.exp, 700),
    "log": (torch.log, mpmath.log, 1e300),
    "tanh": (torch.tanh, mpmath.tanh, 30),
    "erf": (torch.erf, mpmath.erf, 6),
    "sigmoid": (torch.sigmoid, lambda v: 1 / (1 + mpmath.exp(-v)), 700),
    "sin": (torch.sin, mpmath.sin, 1e6),
    "cos": (torch.cos, mpmath.cos, 1e6),
    "sqrt": (torch.sqrt, mpmath.sqrt, 1e300),
    "reciprocal": (torch.reciprocal, lambda v: 1 / v, 1e300),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_elementary_functions_err_by_less_than_512_ulp(name):
    function, exact, reach = FUNCTIONS[name]
    rng = np.random.default_rng(0)
    low, high = (-12, np.log10(reach)) if reach < 1e7 else (-300, 300)
    x = 10.0 ** rng.uniform(low, high, 400)
    if name not in ("log", "sqrt"):
        x *= rng.choice([-1, 1], len(x))
    computed = function(torch.from_numpy(x)).numpy()
    with mpmath.workdps(60):
        for argument, value in zip(x.tolist(), computed.tolist(), strict=True):
            truth = exact(mpmath.mpf(argument))
            if abs(truth) > 1e-300:
                assert abs(value - truth) <= 512 * 2.0**-52 * abs(truth)
