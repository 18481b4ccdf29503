#!/usr/bin/env python3
"""Writes test/golden/convolution.safetensors and .json, and convolution-{initial,final,data}.safetensors: what PyTorch
computes for convolution and pooling, and for 20 steps of Adam on a small CNN (test/numerics/convolution-layers.test.ts).

Run once with Debian's python3-torch (1.13.1): /usr/bin/python3 scripts/golden/convolution.py
The files are committed, so the tests need no Python.
"""

import json

import torch
from torch import nn

from layer_golden import GOLDEN, save

ROWS = 3
STEPS = 20
BATCH = 16

# Of each: layer in the words of the config, shape of a sample.
CONVOLUTIONS = {
    "plain": ({"filters": 4, "kernelSize": 3}, (2, 7, 9)),
    "same": ({"filters": 6, "kernelSize": 3, "padding": "same"}, (3, 8, 8)),
    "sameEven": ({"filters": 3, "kernelSize": [2, 4], "padding": "same"}, (2, 6, 7)),
    "oneChannel": ({"filters": 16, "kernelSize": 3, "padding": 1}, (1, 12, 12)),
    "manyChannels": ({"filters": 5, "kernelSize": 3, "padding": 1}, (33, 5, 5)),
    "stride": ({"filters": 4, "kernelSize": 3, "stride": 2, "padding": 1}, (3, 9, 11)),
    "strides": ({"filters": 2, "kernelSize": [3, 2], "stride": [1, 3], "padding": [2, 0]}, (2, 6, 11)),
    "dilated": ({"filters": 4, "kernelSize": 3, "dilation": 2, "padding": 2}, (2, 9, 10)),
    "dilatedStride": ({"filters": 3, "kernelSize": 3, "dilation": [2, 1], "stride": 2}, (2, 11, 9)),
    "pointwise": ({"filters": 7, "kernelSize": 1}, (5, 6, 6)),
    "whole": ({"filters": 9, "kernelSize": 5}, (3, 5, 5)),
    "noBias": ({"filters": 4, "kernelSize": 3, "bias": False}, (2, 5, 6)),
    "groups": ({"filters": 6, "kernelSize": 3, "groups": 2, "padding": 1}, (4, 6, 5)),
    "wideGroups": ({"filters": 30, "kernelSize": 1, "groups": 3, "stride": 2}, (6, 5, 5)),
    "depthwise": ({"filters": 5, "kernelSize": 3, "groups": 5, "padding": 1}, (5, 9, 10)),
    "depthwiseStride": ({"filters": 8, "kernelSize": 3, "groups": 4, "stride": 2, "padding": 1}, (4, 9, 9)),
    "depthwiseNarrow": ({"filters": 4, "kernelSize": 3, "groups": 4}, (4, 5, 5)),
}
POOLS = {
    "max": ({"kind": "maxPool2d", "size": 2}, (3, 8, 10)),
    "maxOdd": ({"kind": "maxPool2d", "size": 2}, (2, 7, 9)),
    "maxOverlap": ({"kind": "maxPool2d", "size": 3, "stride": 2, "padding": 1}, (2, 9, 9)),
    "maxTies": ({"kind": "maxPool2d", "size": [3, 2], "stride": [1, 2]}, (2, 6, 8)),
    "avg": ({"kind": "avgPool2d", "size": 2}, (3, 8, 10)),
    "avgPadded": ({"kind": "avgPool2d", "size": 3, "stride": 2, "padding": 1}, (2, 8, 9)),
    "global": ({"kind": "globalAvgPool2d"}, (5, 7, 6)),
}


def module_of(spec, channels):
    kind = spec["kind"]
    if kind == "conv2d":
        padding = spec.get("padding", 0)
        return nn.Conv2d(
            channels,
            spec["filters"],
            spec["kernelSize"],
            stride=spec.get("stride", 1),
            padding=padding if isinstance(padding, (int, str)) else tuple(padding),
            dilation=spec.get("dilation", 1),
            groups=spec.get("groups", 1),
            bias=spec.get("bias", True),
        )
    if kind == "globalAvgPool2d":
        return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    pool = nn.MaxPool2d if kind == "maxPool2d" else nn.AvgPool2d
    return pool(spec["size"], stride=spec.get("stride"), padding=spec.get("padding", 0))


def layers(tensors):
    cases = {name: ({"kind": "conv2d", **spec}, shape) for name, (spec, shape) in CONVOLUTIONS.items()}
    cases.update(POOLS)
    for name, (spec, shape) in cases.items():
        module = module_of(spec, shape[0])
        x = torch.randn(ROWS, *shape)
        if name == "maxTies":
            x = x.round()
        x.requires_grad_()
        y = module(x)
        d_y = torch.randn_like(y)
        y.backward(d_y)
        tensors.update({f"{name}.x": x, f"{name}.y": y, f"{name}.dY": d_y, f"{name}.dX": x.grad})
        for key, parameter in module.named_parameters():
            tensors.update({f"{name}.{key}": parameter, f"{name}.d.{key}": parameter.grad})
    return [{"name": name, "spec": spec, "inputShape": shape} for name, (spec, shape) in cases.items()]


def train():
    """A CNN with every layer of the topic, named as the config's layers are; batches in file order."""
    model = nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 6, 3, padding=1, groups=6),
        nn.ReLU(),
        nn.Conv2d(6, 12, 1),
        nn.Tanh(),
        nn.AvgPool2d(2),
        nn.Conv2d(12, 8, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32, 4),
    )
    features = torch.randn(4 * BATCH, 2, 12, 12)
    labels = (features.mean(dim=(2, 3)) @ torch.randn(2, 4)).argmax(dim=1)
    save("convolution-initial.safetensors", model.state_dict())
    save("convolution-data.safetensors", {"features": features, "targets": labels})
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, foreach=False)
    history = []
    for step in range(STEPS):
        start = step * BATCH % len(features)
        optimizer.zero_grad()
        loss = nn.CrossEntropyLoss()(model(features[start : start + BATCH]), labels[start : start + BATCH])
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    save("convolution-final.safetensors", model.state_dict())
    return history


def main():
    torch.manual_seed(21)
    torch.set_num_threads(1)
    tensors = {}
    cases = layers(tensors)
    save("convolution.safetensors", tensors)
    result = {"torch": torch.__version__, "cases": cases, "batchSize": BATCH, "losses": train()}
    (GOLDEN / "convolution.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
