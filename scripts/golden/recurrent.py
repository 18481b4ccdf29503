#!/usr/bin/env python3
"""Writes test/golden/recurrent.safetensors and .json: what PyTorch computes for LSTM and GRU, and for 20 steps of Adam
on a small model of each (test/numerics/recurrent-pytorch.test.ts).

Run once with Debian's python3-torch (1.13.1): /usr/bin/python3 scripts/golden/recurrent.py
The files are committed, so the tests need no Python.
"""

import json

import torch
from torch import nn

from layer_golden import GOLDEN, save

STEPS, BATCH, ROWS = 20, 12, 24
# Rows, positions, features, units; whether every position is an output.
CASES = {
    "one": (1, 1, 1, 1, True),
    "small": (3, 4, 5, 6, True),
    "last": (4, 7, 3, 9, False),
    "long": (2, 40, 2, 5, False),
    "wide": (5, 6, 11, 17, True),
}


def recurrent(kind, inputs, units, return_sequences):
    """nn.LSTM or nn.GRU that returns its outputs alone, for a Sequential; its tensors keep their names."""
    base = {"lstm": nn.LSTM, "gru": nn.GRU}[kind]

    class Outputs(base):
        def forward(self, x):
            y, _ = super().forward(x)
            return y if return_sequences else y[:, -1]

    return Outputs(inputs, units, batch_first=True)


def layers(tensors):
    for kind in ("lstm", "gru"):
        for name, (rows, positions, inputs, units, return_sequences) in CASES.items():
            layer = recurrent(kind, inputs, units, return_sequences)
            x = torch.randn(rows, positions, inputs, requires_grad=True)
            y = layer(x)
            d_y = torch.randn_like(y)
            y.backward(d_y)
            prefix = f"{kind}.{name}"
            tensors.update({f"{prefix}.x": x, f"{prefix}.y": y, f"{prefix}.dY": d_y, f"{prefix}.dX": x.grad})
            for key, parameter in layer.named_parameters():
                tensors.update({f"{prefix}.{key}": parameter, f"{prefix}.d.{key}": parameter.grad})


def train(kind):
    """Batches in file order, over and over, with Adam's defaults."""
    model = nn.Sequential(recurrent(kind, 3, 10, True), recurrent(kind, 10, 7, False), nn.Linear(7, 2))
    features = torch.randn(ROWS, 8, 3)
    targets = torch.stack([features[:, :, 0].sum(1).tanh(), features[:, 2, 1] * features[:, -1, 2]], 1)
    arrays = {f"initial.{key}": value.clone() for key, value in model.state_dict().items()}
    arrays.update({"features": features, "targets": targets})
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2, betas=(0.9, 0.999), eps=1e-8, foreach=False)
    history = []
    for step in range(STEPS):
        start = step * BATCH % ROWS
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(features[start : start + BATCH]), targets[start : start + BATCH])
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    arrays.update({f"final.{key}": value for key, value in model.state_dict().items()})
    return {f"{kind}.train.{key}": value for key, value in arrays.items()}, history


def main():
    torch.manual_seed(23)
    torch.set_num_threads(1)
    tensors, losses = {}, {}
    layers(tensors)
    for kind in ("lstm", "gru"):
        arrays, losses[kind] = train(kind)
        tensors.update(arrays)
    save("recurrent.safetensors", tensors)
    cases = {
        name: {"positions": positions, "inputs": inputs, "units": units, "returnSequences": return_sequences}
        for name, (_, positions, inputs, units, return_sequences) in CASES.items()
    }
    result = {"torch": torch.__version__, "batchSize": BATCH, "cases": cases, "losses": losses}
    (GOLDEN / "recurrent.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
