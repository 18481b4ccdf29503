#!/usr/bin/env python3
"""Writes test/golden/*.safetensors and pytorch.json: what PyTorch computes, for test/numerics/pytorch.test.ts.

Run once with Debian's python3-torch (1.13.1): /usr/bin/python3 scripts/make-golden.py
The files are committed, so the tests need no Python.
"""

import json
import struct
from pathlib import Path

import numpy as np
import torch
from torch import nn

GOLDEN = Path(__file__).resolve().parent.parent / "test" / "golden"
STEPS = 50
BATCH = 64
ROWS = 256


def save(name, tensors):
    """Safetensors by hand: header length, JSON header padded to 8 bytes, then the float32 bytes."""
    header, blobs, end = {}, [], 0
    for key, tensor in tensors.items():
        # Not ascontiguousarray, which turns a scalar into a vector.
        data = np.asarray(tensor.detach().numpy() if torch.is_tensor(tensor) else tensor, dtype="<f4", order="C")
        header[key] = {"dtype": "F32", "shape": list(data.shape), "data_offsets": [end, end + data.nbytes]}
        blobs.append(data.tobytes())
        end += data.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    (GOLDEN / name).write_bytes(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def activations(tensors):
    functions = {
        "relu": nn.ReLU(),
        "leakyRelu": nn.LeakyReLU(0.01),
        "tanh": nn.Tanh(),
        "sigmoid": nn.Sigmoid(),
    }
    special = torch.tensor([0.0, -0.0, 1e-30, -1e-30, 1e-4, -1e-4, 0.624, 0.626, 5.0, -5.0, 9.5, -9.5, 40.0, -40.0])
    for name, function in functions.items():
        x = torch.cat([special, 4 * torch.randn(114)]).requires_grad_()
        y = function(x)
        d_y = torch.randn_like(y)
        y.backward(d_y)
        tensors.update({f"{name}.x": x, f"{name}.y": y, f"{name}.dY": d_y, f"{name}.dX": x.grad})


def linear(tensors):
    for name, (rows, inputs, outputs) in {"linear": (33, 17, 9), "deepLinear": (5, 700, 3)}.items():
        layer = nn.Linear(inputs, outputs)
        x = torch.randn(rows, inputs, requires_grad=True)
        y = layer(x)
        d_y = torch.randn_like(y)
        y.backward(d_y)
        tensors.update({f"{name}.x": x, f"{name}.weight": layer.weight, f"{name}.bias": layer.bias, f"{name}.y": y})
        tensors.update({f"{name}.dY": d_y, f"{name}.dX": x.grad})
        tensors.update({f"{name}.dWeight": layer.weight.grad, f"{name}.dBias": layer.bias.grad})


def losses(tensors):
    y = torch.randn(19, 5, requires_grad=True)
    target = torch.randn(19, 5)
    loss = nn.MSELoss()(y, target)
    loss.backward()
    tensors.update({"mse.y": y, "mse.target": target, "mse.loss": loss, "mse.dY": y.grad})
    y = (5 * torch.randn(19, 11)).requires_grad_()
    label = torch.randint(0, 11, (19,))
    loss = nn.CrossEntropyLoss()(y, label)
    loss.backward()
    tensors.update({"crossEntropy.y": y, "crossEntropy.label": label, "crossEntropy.loss": loss})
    tensors["crossEntropy.dY"] = y.grad


def train(name, model, loss_function, features, targets):
    """Batches in file order, over and over, with Adam's defaults; saves weights before and after."""
    save(f"{name}-initial.safetensors", model.state_dict())
    save(f"{name}-data.safetensors", {"features": features, "targets": targets})
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, betas=(0.9, 0.999), eps=1e-8, foreach=False)
    history = []
    for step in range(STEPS):
        start = step * BATCH % ROWS
        optimizer.zero_grad()
        loss = loss_function(model(features[start : start + BATCH]), targets[start : start + BATCH])
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    save(f"{name}-final.safetensors", model.state_dict())
    return history


def regression():
    model = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
    features = torch.randn(ROWS, 8)
    signal = torch.sin(features[:, :1]) + features[:, 1:2] * features[:, 2:3] - 0.5 * features[:, 3:4]
    return train("regression", model, nn.MSELoss(), features, signal + 0.1 * torch.randn(ROWS, 1))


def classification():
    model = nn.Sequential(nn.Linear(20, 32), nn.Tanh(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 5))
    features = torch.randn(ROWS, 20)
    labels = (features @ torch.randn(20, 5)).argmax(dim=1)
    return train("classification", model, nn.CrossEntropyLoss(), features, labels)


def main():
    torch.manual_seed(20)
    torch.set_num_threads(1)
    GOLDEN.mkdir(parents=True, exist_ok=True)
    tensors = {}
    activations(tensors)
    linear(tensors)
    losses(tensors)
    save("kernels.safetensors", tensors)
    result = {
        "torch": torch.__version__,
        "batchSize": BATCH,
        "losses": {"regression": regression(), "classification": classification()},
    }
    (GOLDEN / "pytorch.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
