"""The binomial tail to 30 digits, up to n = 10^9: the independent truth behind Clopper-Pearson."""

import mpmath as mp

mp.mp.dps = 40


def log_tail(p: mp.mpf, k: int, n: int) -> mp.mpf:
    """``log P(Binomial(n, p) >= k)`` for 0 < k <= n and p < k/n.

    The continued fraction of the incomplete beta function (DLMF 8.17.22), by the modified Lentz method; it
    converges in O(sqrt n) terms on this side of the mean.
    """
    a, b = mp.mpf(k), mp.mpf(n - k + 1)
    assert 0 < p < a / n
    c, d = mp.mpf(1), 1 / (1 - (a + b) * p / (a + 1))
    fraction = d
    for m in range(1, 10**6):
        even = m * (b - m) * p / ((a + 2 * m - 1) * (a + 2 * m))
        d, c = 1 / (1 + even * d), 1 + even / c
        fraction *= c * d
        odd = -(a + m) * (a + b + m) * p / ((a + 2 * m) * (a + 2 * m + 1))
        d, c = 1 / (1 + odd * d), 1 + odd / c
        fraction *= c * d
        if abs(c * d - 1) < mp.mpf(10) ** -30:
            break
    else:
        raise AssertionError("did not converge")
    log_beta = mp.loggamma(a) + mp.loggamma(b) - mp.loggamma(a + b)
    return a * mp.log(p) + b * mp.log1p(-p) - mp.log(a) - log_beta + mp.log(fraction)
