#!/usr/bin/env python3
"""Prints the polynomial of normalTail in assembly/self-gated.ts and its errors, in float64 and as float32 runs it.

Fits (a + c) P(N < -a) e^(a^2 / 2) in s = (a - c) / (a + c) for 0 <= a <= 13.3, c = 4, by Lawson's iteration: least
squares whose weights grow where the relative error is large, until it is level. Run: /usr/bin/python3
scripts/fit-normal-tail.py (numpy and mpmath).
"""

import mpmath
import numpy as np

C = 4.0
DEGREE = 9
END = 13.3
POINTS = 600
ROUNDS = 80


def mills(a):
    """P(N < -a) e^(a^2 / 2)."""
    return float(mpmath.erfc(a / mpmath.sqrt(2)) / 2 * mpmath.exp(a * a / 2))


def fit():
    nodes = np.cos(np.pi * (np.arange(POINTS) + 0.5) / POINTS)
    s = (nodes + 1) / 2 * ((END - C) / (END + C) + 1) - 1
    a = C * (1 + s) / (1 - s)
    values = np.array([mills(mpmath.mpf(x)) * (x + C) for x in a])
    basis = np.polynomial.chebyshev.chebvander(s, DEGREE) / values[:, None]
    weights = np.ones(POINTS)
    for _ in range(ROUNDS):
        root = np.sqrt(weights)
        coefficients, *_ = np.linalg.lstsq(basis * root[:, None], root, rcond=None)
        errors = np.abs(basis @ coefficients - 1)
        weights *= errors
        weights /= weights.sum()
    return np.polynomial.chebyshev.cheb2poly(coefficients), errors.max()


def run_in_float32(coefficients, a):
    reciprocal = np.float32(1) / (a + np.float32(C))
    s = np.float32(1) - np.float32(2 * C) * reciprocal
    p = np.full_like(s, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        p = p * s + coefficient
    return p * reciprocal


def main():
    mpmath.mp.dps = 40
    coefficients, error = fit()
    rounded = coefficients.astype(np.float32)
    for power, coefficient in enumerate(rounded):
        print(f"s^{power}: {coefficient:.9g}")
    print(f"largest relative error of the polynomial: {error:.2g}")
    a = np.linspace(0, 13.2, 2001).astype(np.float32)
    exact = np.array([mills(mpmath.mpf(float(x))) for x in a])
    print(f"and in float32: {np.abs(run_in_float32(rounded, a) / exact - 1).max():.2g}")


if __name__ == "__main__":
    main()
