#!/usr/bin/env python3
"""Writes test/golden/activations.safetensors: activations with their gradients, as PyTorch computes them.

Run once with Debian's python3-torch (1.13.1): /usr/bin/python3 scripts/golden/activations.py
"""

import torch
from torch import nn

from layer_golden import save

FUNCTIONS = {
    "relu": nn.ReLU(),
    "leakyRelu": nn.LeakyReLU(0.01),
    "tanh": nn.Tanh(),
    "sigmoid": nn.Sigmoid(),
    "elu": nn.ELU(),
    "gelu": nn.GELU(),
    "geluTanh": nn.GELU(approximate="tanh"),
    "silu": nn.SiLU(),
    "softmax": nn.Softmax(dim=-1),
}
SPECIAL = [0.0, -0.0, 1e-30, -1e-30, 1e-4, -1e-4, 0.624, 0.626, -0.34, -0.35, 5.0, -5.0, 9.5, -9.5, 40.0, -40.0]


def main():
    torch.manual_seed(31)
    tensors = {}
    for name, function in FUNCTIONS.items():
        x = torch.cat([torch.tensor(SPECIAL), 4 * torch.randn(94)]).reshape(2, 5, 11).requires_grad_()
        y = function(x)
        d_y = torch.randn_like(y)
        y.backward(d_y)
        tensors.update({f"{name}.x": x, f"{name}.y": y, f"{name}.dY": d_y, f"{name}.dX": x.grad})
    save("activations.safetensors", tensors)


if __name__ == "__main__":
    main()
