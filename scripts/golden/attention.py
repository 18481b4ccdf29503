#!/usr/bin/env python3
"""Writes test/golden/attention.safetensors, transformer.safetensors and attention.json: attention, embeddings and
residual blocks, and 20 steps of a small causal transformer, as PyTorch computes them.

Run once with Debian's python3-torch (1.13.1): /usr/bin/python3 scripts/golden/attention.py
"""

import json

import torch
from torch import nn

from layer_golden import GOLDEN, record, save, train

VOCABULARY = 11
POSITIONS = 6
UNITS = 8
BATCH = 8
ROWS = 24


class Attention(nn.MultiheadAttention):
    """Self-attention of [rows, positions, units]."""

    def __init__(self, units, heads, causal):
        super().__init__(units, heads, batch_first=True)
        self.causal = causal

    def forward(self, x):
        positions = x.shape[1]
        mask = torch.ones(positions, positions).triu(1).bool() if self.causal else None
        return super().forward(x, x, x, attn_mask=mask, need_weights=False)[0]


class Positional(nn.Module):
    def __init__(self, positions, units):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(positions, units))

    def forward(self, x):
        return x + self.weight


class Residual(nn.Module):
    def __init__(self, body, shortcut=None):
        super().__init__()
        self.body = body
        self.shortcut = shortcut

    def forward(self, x):
        return self.body(x) + (x if self.shortcut is None else self.shortcut(x))


def randomize_biases(layer):
    with torch.no_grad():
        layer.in_proj_bias.copy_(torch.randn_like(layer.in_proj_bias))
        layer.out_proj.bias.copy_(torch.randn_like(layer.out_proj.bias))
    return layer


def transformer():
    return nn.Sequential(
        nn.Embedding(VOCABULARY, UNITS),
        Positional(POSITIONS, UNITS),
        Residual(nn.Sequential(nn.LayerNorm(UNITS), Attention(UNITS, 2, True))),
        Residual(
            nn.Sequential(
                nn.LayerNorm(UNITS), nn.Linear(UNITS, 16), nn.GELU(approximate="tanh"), nn.Linear(16, UNITS)
            )
        ),
        nn.LayerNorm(UNITS),
        nn.Linear(UNITS, VOCABULARY),
    )


def main():
    torch.manual_seed(33)
    torch.set_num_threads(1)
    tensors = {}
    record(tensors, "attention", randomize_biases(Attention(12, 3, False)), torch.randn(4, 7, 12))
    record(tensors, "causalAttention", randomize_biases(Attention(10, 2, True)), torch.randn(3, 9, 10))
    # 2 heads over 13 positions of 2 units: more probabilities than are kept.
    record(tensors, "longAttention", randomize_biases(Attention(2, 2, True)), torch.randn(3, 13, 2))
    record(tensors, "embedding", nn.Embedding(VOCABULARY, 5), torch.randint(0, VOCABULARY, (4, 7)))
    record(tensors, "positionalEmbedding", Positional(7, 5), torch.randn(4, 7, 5))
    record(tensors, "residual", Residual(nn.Sequential(nn.Linear(9, 9), nn.Tanh())), torch.randn(5, 9))
    shortcut = nn.Sequential(nn.Linear(9, 4, bias=False))
    body = nn.Sequential(nn.Linear(9, 6), nn.ReLU(), nn.Linear(6, 4))
    record(tensors, "residualShortcut", Residual(body, shortcut), torch.randn(5, 9))
    save("attention.safetensors", tensors)

    features = torch.randint(0, VOCABULARY, (ROWS, POSITIONS))
    # The token before, one-hot: what a causal model can learn.
    previous = torch.roll(features, 1, dims=1)
    targets = nn.functional.one_hot(previous, VOCABULARY).float()
    losses = train("transformer", transformer(), features, targets, BATCH)
    result = {"torch": torch.__version__, "batchSize": BATCH, "losses": losses}
    (GOLDEN / "attention.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
