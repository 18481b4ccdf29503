#!/usr/bin/env python3
"""Writes test/golden/positions.safetensors and .json: 20 steps of Adam on models that predict at each position of a
sequence, a class (positions of padding are ignored) or two numbers (test/numerics/positions-pytorch.test.ts).

Run once with Debian's python3-torch (1.13.1): /usr/bin/python3 scripts/golden/positions.py
The files are committed, so the tests need no Python.
"""

import json

import torch
from torch import nn
from torch.nn import functional as F

from layer_golden import GOLDEN, save
from recurrent import recurrent

STEPS, BATCH, ROWS, POSITIONS = 20, 8, 22, 9
IGNORED = -100


def cross_entropy(y, label):
    """PyTorch wants the classes second."""
    return F.cross_entropy(y.transpose(1, 2), label, ignore_index=IGNORED)


def padded(features):
    """Classes that follow from a position and the one before, up to a length of each row's own."""
    signs = (features[:, :, 0] > 0).long()
    label = signs + 2 * torch.cat([signs[:, :1], signs[:, :-1]], 1)
    lengths = torch.randint(3, POSITIONS + 1, (ROWS, 1))
    return torch.where(torch.arange(POSITIONS) < lengths, label, torch.full_like(label, IGNORED))


def train(model, features, targets, loss_of):
    """Batches in file order, over and over, the last one short, with Adam's defaults."""
    arrays = {f"initial.{key}": value.clone() for key, value in model.state_dict().items()}
    arrays.update({"features": features, "targets": targets})
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2, betas=(0.9, 0.999), eps=1e-8, foreach=False)
    history = []
    for step in range(STEPS):
        start = step % -(-ROWS // BATCH) * BATCH
        optimizer.zero_grad()
        loss = loss_of(model(features[start : start + BATCH]), targets[start : start + BATCH])
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    arrays.update({f"final.{key}": value for key, value in model.state_dict().items()})
    return arrays, history


def main():
    torch.manual_seed(31)
    torch.set_num_threads(1)
    features = torch.randn(ROWS, POSITIONS, 3)
    sums = torch.stack([features[:, :, 0].cumsum(1).tanh(), features[:, :, 1] * features[:, :, 2]], 2)
    runs = {
        "classes": train(nn.Sequential(recurrent("lstm", 3, 8, True), nn.Linear(8, 4)), features, padded(features), cross_entropy),
        "values": train(nn.Sequential(recurrent("gru", 3, 7, True), nn.Linear(7, 2)), features, sums, F.mse_loss),
    }
    save("positions.safetensors", {f"{name}.{key}": value for name, (arrays, _) in runs.items() for key, value in arrays.items()})
    losses = {name: history for name, (_, history) in runs.items()}
    result = {"torch": torch.__version__, "batchSize": BATCH, "losses": losses}
    (GOLDEN / "positions.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
