#!/usr/bin/env python3
"""Writes test/golden/normalization.safetensors, norm-mlp.safetensors and normalization.json: layer and batch
normalization, and 20 steps of a small network with batch normalization, as PyTorch computes them.

Run once with Debian's python3-torch (1.13.1): /usr/bin/python3 scripts/golden/normalization.py
"""

import json

import torch
from torch import nn

from layer_golden import GOLDEN, record, save, train

BATCH = 16
ROWS = 48


def randomize(layer):
    """Gains and biases that are neither 1 nor 0."""
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn_like(parameter))
    return layer


def batch_norm(tensors, name, layer, x):
    record(tensors, name, randomize(layer), x)
    tensors.update({f"{name}.runningMean": layer.running_mean, f"{name}.runningVar": layer.running_var})
    layer.eval()
    tensors[f"{name}.evaluated"] = layer(x)


def main():
    torch.manual_seed(32)
    torch.set_num_threads(1)
    tensors = {}
    record(tensors, "layerNorm", randomize(nn.LayerNorm(19)), 2 * torch.randn(7, 19) + 3)
    record(tensors, "layerNormSequence", randomize(nn.LayerNorm(18)), torch.randn(3, 5, 18))
    batch_norm(tensors, "batchNorm", nn.BatchNorm1d(13), 2 * torch.randn(9, 13) + 3)
    batch_norm(tensors, "batchNormImage", nn.BatchNorm2d(3), 2 * torch.randn(4, 3, 5, 7) - 1)
    save("normalization.safetensors", tensors)

    # A bias before a norm has no gradient but rounding errors, which Adam would make steps of.
    model = nn.Sequential(nn.Linear(6, 16, bias=False), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))
    features = torch.randn(ROWS, 6)
    targets = torch.stack([features[:, 0] * features[:, 1], features[:, 2].sin(), features[:, 3]], dim=1)
    losses = train("norm-mlp", model, features, targets, BATCH)
    result = {"torch": torch.__version__, "batchSize": BATCH, "losses": losses}
    (GOLDEN / "normalization.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
