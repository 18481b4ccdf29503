#!/usr/bin/env python3
"""Writes test/golden/state-dicts.json, names and shapes of the tensors of nn.Sequential models; and a whole state_dict,
counters of batches included, with what its model gives: test/golden/state-dict.safetensors, state-dict-data.safetensors.

Run once with Debian's python3-torch (1.13.1): /usr/bin/python3 scripts/golden/state_dicts.py
test/numerics/state-dicts.test.ts holds the layers of the same models.
"""

import json
import struct

import torch
from torch import nn

from attention import Attention, Positional, Residual
from layer_golden import GOLDEN, save


class Sequence(nn.LSTM):
    """Recurrent layers give outputs and states: a Sequential needs the outputs alone."""

    def forward(self, x):
        return super().forward(x)[0]


class Last(nn.GRU):
    def forward(self, x):
        return super().forward(x)[0][:, -1]


class Reshape(nn.Module):
    def __init__(self, *shape):
        super().__init__()
        self.shape = shape

    def forward(self, x):
        return x.reshape(len(x), *self.shape)


IMAGE = (1, 8, 8)


def models():
    """Each with the shape of a sample."""
    yield "dense", (5,), nn.Sequential(
        nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 4, bias=False), nn.Linear(4, 3), nn.Softmax(-1), nn.Linear(3, 2)
    )
    yield "dense after an image", IMAGE, nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.Tanh(), nn.Linear(4, 2))
    yield "dense after layers on images", IMAGE, nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.1), nn.Flatten(), nn.Linear(27, 2)
    )
    yield "flatten before dense", IMAGE, nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(27, 4), nn.GELU(), nn.Linear(4, 2)
    )
    yield "dense on a sequence", (6, 5), nn.Sequential(nn.Linear(5, 4), nn.SiLU(), nn.Flatten(), nn.Linear(24, 2))
    yield "convolutions with norms", IMAGE, nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 4, 3, groups=4),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.BatchNorm1d(4),
        nn.Linear(4, 2),
    )
    yield "residual blocks on images", IMAGE, nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.ELU(),
        Residual(
            nn.Sequential(
                nn.Conv2d(4, 4, 3, padding=1),
                nn.ReLU(),
                Residual(nn.Sequential(nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1), nn.ReLU()), nn.Sequential(nn.BatchNorm2d(4))),
                nn.BatchNorm2d(4),
            )
        ),
        Residual(
            nn.Sequential(nn.Flatten(), nn.Linear(256, 6), nn.Sigmoid(), nn.Linear(6, 3)),
            nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3), nn.ReLU()),
        ),
        nn.Linear(3, 2),
    )
    yield "reshapes", (36,), nn.Sequential(
        Reshape(4, 9), nn.LayerNorm(9), Reshape(1, 6, 6), nn.Flatten(), nn.Linear(36, 4), nn.LeakyReLU(), nn.LayerNorm(4), nn.Linear(4, 2)
    )
    yield "a transformer", (6,), nn.Sequential(
        nn.Embedding(11, 8),
        Positional(6, 8),
        Residual(nn.Sequential(nn.LayerNorm(8), Attention(8, 2, True), nn.Dropout(0.1))),
        Residual(nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))),
        nn.LayerNorm(8),
        nn.Linear(8, 11),
    )
    yield "recurrent layers", (6, 5), nn.Sequential(
        Sequence(5, 4, batch_first=True), nn.Dropout(0.2), Last(4, 3, batch_first=True), nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)
    )
    yield "a cropped image", IMAGE, nn.Sequential(
        nn.ZeroPad2d((-1, -1, 0, -1)), nn.Conv2d(1, 3, 3), nn.Flatten(), nn.Linear(60, 2)
    )


def table():
    """Of each model the tensors that hold weights or statistics, in order; that it runs proves its shapes."""
    rows = {}
    for name, shape, model in models():
        model.eval()(torch.zeros(2, *shape, dtype=torch.long if isinstance(model[0], nn.Embedding) else torch.float))
        state = model.state_dict()
        rows[name] = {key: list(value.shape) for key, value in state.items() if value.is_floating_point()}
    return rows


def save_state_dict(name, state):
    """As safetensors 0.8.0 writes it: the widest type first, then by name; int64 as it is."""
    types = {torch.int64: ("I64", 8), torch.float32: ("F32", 4)}
    header, blobs, end = {}, [], 0
    for key, value in sorted(state.items(), key=lambda item: (-types[item[1].dtype][1], item[0])):
        blob = value.numpy().tobytes()
        header[key] = {"dtype": types[value.dtype][0], "shape": list(value.shape), "data_offsets": [end, end + len(blob)]}
        blobs.append(blob)
        end += len(blob)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    (GOLDEN / name).write_bytes(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def trained():
    """A model whose norms have seen some batches."""
    model = nn.Sequential(
        nn.Conv2d(1, 3, 3, bias=False),
        nn.BatchNorm2d(3),
        nn.ReLU(),
        Residual(nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 3, 3, padding=1))),
        nn.Flatten(),
        nn.Linear(108, 4),
    )
    for _ in range(5):
        model(torch.randn(16, *IMAGE) + 0.5)
    return model.eval()


def main():
    torch.manual_seed(41)
    torch.set_num_threads(1)
    (GOLDEN / "state-dicts.json").write_text(json.dumps(table(), indent=2) + "\n")
    model = trained()
    save_state_dict("state-dict.safetensors", model.state_dict())
    features = torch.randn(7, *IMAGE)
    save("state-dict-data.safetensors", {"features": features.reshape(7, -1), "outputs": model(features)})


if __name__ == "__main__":
    main()
