#!/usr/bin/env python3
"""Writes test/golden/own-unit-metrics.json: tables of regressions, and what scikit-learn measures of a given linear
model on their validation rows, in the target's own unit.

The model predicts x + 1/32 of the transformed target, for every column: exact in float32, so that nothing but the
metrics is measured. Run once with Debian's python3-sklearn (1.2.1): /usr/bin/python3 scripts/golden/own_unit_metrics.py
"""

import json
from pathlib import Path

import numpy as np
import sklearn
from sklearn import metrics

GOLDEN = Path(__file__).resolve().parents[2] / "test" / "golden"
BIAS = 1 / 32


def inverse_of(steps, values):
    """The way back from the transform that is fitted to a training column."""
    inverses = []
    for step in steps:
        if step == "log":
            values = np.log(values)
            inverses.insert(0, np.exp)
        else:
            mean, scale = values.mean(), values.std()
            values = (values - mean) / scale
            inverses.insert(0, lambda z, mean=mean, scale=scale: z * scale + mean)

    def inverse(z):
        for function in inverses:
            z = function(z)
        return z

    return inverse


def measure(actual, predicted, weight):
    shown = actual != 0
    return {
        "rmse": np.sqrt(metrics.mean_squared_error(actual, predicted, sample_weight=weight)),
        "mae": metrics.mean_absolute_error(actual, predicted, sample_weight=weight),
        "r2": metrics.r2_score(actual, predicted, sample_weight=weight),
        "mape": metrics.mean_absolute_percentage_error(actual[shown], predicted[shown], sample_weight=weight[shown]),
    }


def case(name, steps, columns, random, weighted=False):
    """`columns` make target columns of the feature."""
    splits = {}
    for split, rows in {"train": 40, "validation": 25}.items():
        x = random.integers(-128, 128, rows) / 64
        weight = random.choice([0.0, 0.5, 1.0, 3.0], rows) if weighted else np.ones(rows)
        splits[split] = {"x": x, "y": [column(x) for column in columns], "weight": weight}
    validation = splits["validation"]
    scores = []
    for train, actual in zip(splits["train"]["y"], validation["y"]):
        predicted = inverse_of(steps, train)(validation["x"] + BIAS)
        scores.append(measure(actual, predicted, validation["weight"]))
    expected = {key: float(np.mean([score[key] for score in scores])) for key in scores[0]}
    zeros = sum(int(((y == 0) & (validation["weight"] > 0)).sum()) for y in validation["y"])
    if zeros > 0:
        expected["mapeZeros"] = zeros
    tables = {
        split: {"x": part["x"].tolist(), "y": [y.tolist() for y in part["y"]], "weight": part["weight"].tolist()}
        for split, part in splits.items()
    }
    return {"name": name, "targetTransform": steps, "isWeighted": weighted, **tables, "expected": expected}


def main():
    random = np.random.default_rng(11)

    def noisy(x):
        return x + random.normal(size=len(x)) / 4

    def integers(x):
        return np.maximum(np.round(30 * noisy(x) + 20), 0)

    def large(x):
        return np.round(np.exp(noisy(x) + 18)) + 2.0**24

    def decimals(x):
        return np.round(np.exp(noisy(x)), 3)

    def near_zero(x):
        return np.round(noisy(x) * 1e-3, 4)

    cases = [
        case("integers, some of them 0, standardized", ["standardize"], [integers], random),
        case("integers beyond float32, by their logarithm, weighted", ["log"], [large], random, weighted=True),
        case("decimals, by their standardized logarithm", ["log", "standardize"], [decimals], random),
        case("several columns, standardized, weighted", ["standardize"], [integers, large, near_zero], random, weighted=True),
        case("decimals as they are", [], [near_zero], random),
    ]
    result = {"sklearn": sklearn.__version__, "bias": BIAS, "cases": cases}
    (GOLDEN / "own-unit-metrics.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
