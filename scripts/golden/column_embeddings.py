#!/usr/bin/env python3
"""Writes test/golden/column-embeddings.safetensors: what PyTorch computes where two of five numbers of a row are ids
of embeddings, for test/numerics/layers-pytorch.test.ts.

Run once with Debian's python3-torch (1.13.1): /usr/bin/python3 scripts/golden/column_embeddings.py
The files are committed, so the tests need no Python.
"""

import torch
from torch import nn

from layer_golden import record, save


class ColumnEmbeddings(nn.Module):
    def __init__(self):
        super().__init__()
        self.tables = nn.ModuleList([nn.Embedding(6, 5), nn.Embedding(3, 2)])

    def forward(self, x):
        first, second = (table(x[:, place].long()) for table, place in zip(self.tables, (1, 4)))
        return torch.cat([x[:, :1], first, x[:, 2:4], second], dim=1)


def main():
    torch.manual_seed(37)
    torch.set_num_threads(1)
    x = torch.randn(17, 5)
    x[:, 1] = torch.randint(0, 6, (17,))
    x[:, 4] = torch.randint(0, 3, (17,))
    tensors = {}
    record(tensors, "columns", ColumnEmbeddings(), x)
    save("column-embeddings.safetensors", tensors)


if __name__ == "__main__":
    main()
