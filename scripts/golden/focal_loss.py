#!/usr/bin/env python3
"""Writes test/golden/focal-loss.safetensors: the focal loss of examples/engine/focal-loss.mjs and its gradient by
autograd, in float64 and rounded to float32.

Run once with Debian's python3-torch (1.13.1): /usr/bin/python3 scripts/golden/focal_loss.py
"""

import torch
from torch.nn import functional as F

from layer_golden import save

ROWS, CLASSES = 17, 5


def focal_loss(logits, labels, gamma):
    """Lin et al., "Focal loss for dense object detection", 2017: of each row."""
    cross_entropy = F.cross_entropy(logits, labels, reduction="none")
    return (1 - torch.exp(-cross_entropy)) ** gamma * cross_entropy


def main():
    torch.manual_seed(5)
    tensors = {}
    for gamma in [0, 1, 2]:
        logits = (4 * torch.randn(ROWS, CLASSES)).double().requires_grad_()
        labels = torch.randint(0, CLASSES, (ROWS,))
        losses = focal_loss(logits, labels, gamma)
        losses.sum().backward()
        name = f"gamma{gamma}"
        tensors.update({f"{name}.y": logits, f"{name}.target": labels, f"{name}.losses": losses})
        tensors[f"{name}.dY"] = logits.grad
    save("focal-loss.safetensors", tensors)


if __name__ == "__main__":
    main()
