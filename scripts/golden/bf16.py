#!/usr/bin/env python3
"""Writes test/golden/bf16.safetensors: float32 of every kind, and as PyTorch rounds them to bfloat16.

Run once with Debian's python3-torch (1.13.1): /usr/bin/python3 scripts/golden/bf16.py
"""

import torch

from layer_golden import save

SPECIAL = [0.0, 1.0, float("inf"), float("nan"), 3.3895314e38, 3.3961776e38, 3.4028235e38, 1e-45, 4.6e-41, 9.2e-41, 1.1754944e-38]


def main():
    torch.manual_seed(47)
    bits = torch.randint(-(2**31), 2**31, (3000,)).to(torch.int32)
    # Halfway between neighbours, and one bit beside it.
    halves = (bits[:600] & -65536) | 0x8000
    values = torch.cat([bits, halves, halves - 1, halves + 1]).view(torch.float32)
    special = torch.tensor(SPECIAL)
    x = torch.cat([values, special, -special])
    save("bf16.safetensors", {"x": x, "y": x.to(torch.bfloat16).to(torch.float32)})


if __name__ == "__main__":
    main()
