#!/usr/bin/env python3
"""Writes test/golden/batch-norm*: batch normalization as PyTorch computes it.

- batch-norm-*.safetensors and batch-norm.json: 20 steps of small networks on epochs whose last batch is short.
- batch-norm-accuracy.json with digits-*.csv.gz and regression-208-*.csv.gz: what networks learn of small batches, with six seeds.

Run once with Debian's python3-torch (1.13.1) and python3-sklearn (1.2.1), whose digits are those of UCI's test set of
handwritten digits (E. Alpaydin, C. Kaynak): /usr/bin/python3 scripts/golden/batch_norm.py
"""

import gzip
import json
import statistics

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

from layer_golden import GOLDEN, train

SEEDS = range(6)


class ShardNorm(nn.BatchNorm1d):
    """Normalizes each shard by itself. The running statistics move to the mean, by rows, of those of the shards."""

    def __init__(self, channels, batch, shards):
        super().__init__(channels)
        self.shards = shards
        self.least = min(32, batch // shards)

    def forward(self, x):
        if not self.training:
            return super().forward(x)
        parts = torch.tensor_split(x, max(1, min(self.shards, len(x) // self.least)))
        with torch.no_grad():
            mean = sum(len(part) * part.mean(dim=0) for part in parts) / len(x)
            var = sum(len(part) * part.var(dim=0, unbiased=True) for part in parts) / len(x)
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(var, self.momentum)
        return torch.cat([F.batch_norm(part, None, None, self.weight, self.bias, True, 0, self.eps) for part in parts])


def uneven(name, norm, rows, batch):
    """20 steps; a bias before a norm has no gradient but rounding errors, which Adam would make steps of."""
    model = nn.Sequential(nn.Linear(6, 16, bias=False), norm, nn.ReLU(), nn.Linear(16, 3))
    features = torch.randn(rows, 6)
    targets = torch.stack([features[:, 0] * features[:, 1], features[:, 2].sin(), features[:, 3]], dim=1)
    return {"batchSize": batch, "losses": train(name, model, features, targets, batch)}


def uneven_images(name, rows, batch):
    """The last batch is a single image, whose channels have values enough."""
    body = [nn.Conv2d(2, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten()]
    model = nn.Sequential(*body, nn.Linear(4 * 5 * 7, 3))
    features = 2 * torch.randn(rows, 2, 5, 7) + 1
    targets = torch.stack([features.mean(dim=(1, 2, 3)), features.amax(dim=(1, 2, 3)), features[:, 0, 0, 0]], dim=1)
    return {"batchSize": batch, "losses": train(name, model, features, targets, batch)}


def write_table(name, rows, header):
    text = "\n".join([",".join(header), *(",".join(f"{value:g}" for value in row) for row in rows)]) + "\n"
    # Without a time, so that the same rows are the same bytes.
    (GOLDEN / name).write_bytes(gzip.compress(text.encode(), 9, mtime=0))


def standardize(train_rows, *others):
    mean, deviation = train_rows.mean(axis=0), train_rows.std(axis=0)
    deviation[deviation == 0] = 1
    return [torch.tensor((rows - mean) / deviation, dtype=torch.float32) for rows in (train_rows, *others)]


def learn(inputs, hidden, outputs, features, targets, loss, *, seed, batch, epochs):
    """Weights are drawn as Lockstep draws them for layers without an activation of their own."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(inputs, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, outputs))
    for layer in (model[0], model[3]):
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(features)).split(batch):
            optimizer.zero_grad()
            loss(model(features[rows]), targets[rows]).backward()
            optimizer.step()
    return model.eval()


def digits(batch):
    rows = np.column_stack(load_digits(return_X_y=True))
    rows = rows[np.random.default_rng(0).permutation(len(rows))]
    parts = {"train": rows[:1437], "test": rows[1437:]}
    for name, part in parts.items():
        write_table(f"digits-{name}.csv.gz", part, [*(f"p{i}" for i in range(64)), "digit"])
    x, test_x = standardize(parts["train"][:, :64], parts["test"][:, :64])
    y, test_y = (torch.tensor(part[:, 64], dtype=torch.int64) for part in parts.values())
    scores = []
    for seed in SEEDS:
        model = learn(64, 64, 10, x, y, F.cross_entropy, seed=seed, batch=batch, epochs=20)
        scores.append((model(test_x).argmax(dim=1) == test_y).double().mean().item())
    return summary(scores, batchSize=batch, epochs=20)


def regression():
    """208 rows: two batches of 100 and one of 8."""
    draw = np.random.default_rng(1)
    columns = draw.normal(size=(608, 4))
    target = columns @ [2, -1, 0.5, 1] + 0.3 * draw.normal(size=608)
    rows = np.round(np.column_stack([columns, target]), 4)
    for name, part in {"train": rows[:208], "test": rows[208:]}.items():
        write_table(f"regression-208-{name}.csv.gz", part, ["a", "b", "c", "d", "y"])
    scaled, test = standardize(rows[:208], rows[208:])
    scores = []
    for seed in SEEDS:
        model = learn(4, 32, 1, scaled[:, :4], scaled[:, 4:], F.mse_loss, seed=seed, batch=100, epochs=200)
        residuals = (test[:, 4:] - model(test[:, :4])).double()
        scores.append(1 - ((residuals**2).sum() / ((test[:, 4] - test[:, 4].mean()) ** 2).double().sum()).item())
    return summary(scores, batchSize=100, epochs=200)


def summary(scores, **settings):
    return {**settings, "mean": statistics.mean(scores), "scores": scores}


def write(name, result):
    (GOLDEN / name).write_text(json.dumps({"torch": torch.__version__, **result}, indent=2) + "\n")


def main():
    torch.manual_seed(41)
    torch.set_num_threads(1)
    one = uneven("batch-norm-one", nn.BatchNorm1d(16), rows=50, batch=16)
    several = uneven("batch-norm-several", ShardNorm(16, batch=100, shards=3), rows=245, batch=100)
    small = uneven("batch-norm-small", ShardNorm(16, batch=16, shards=5), rows=43, batch=16)
    write("batch-norm.json", {"one": one, "several": several, "small": small, "images": uneven_images("batch-norm-images", rows=7, batch=3)})
    write("batch-norm-accuracy.json", {"digits16": digits(16), "digits32": digits(32), "regression": regression()})


if __name__ == "__main__":
    main()
