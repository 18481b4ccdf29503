#!/usr/bin/env python3
"""Writes test/golden/optimizers.safetensors, optimizers.json and schedules.json: 20 steps of every optimizer on
random gradients, and the learning rates of every schedule, as PyTorch computes them.

Run once with Debian's python3-torch (1.13.1): /usr/bin/python3 scripts/golden/optimizers.py
"""

import json

import numpy as np
import torch
from torch import nn
from torch.optim import lr_scheduler as lr

from layer_golden import GOLDEN, save

STEPS = 20
# A power of two, so that dividing a sum of gradients by it is exact on both sides.
DIVISOR = 16
# name, role, length: as they lie in the flat vector.
TENSORS = [("0.weight", "weight", 21), ("0.bias", "bias", 7), ("1.weight", "norm", 7), ("2.weight", "weight", 14)]
LENGTH = sum(length for _, _, length in TENSORS)

ADAM = {"learningRate": 0.01, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8}
RMSPROP = {"kind": "rmsprop", "learningRate": 0.01, "alpha": 0.99, "epsilon": 1e-8}
LION = {"kind": "lion", "learningRate": 0.01, "beta1": 0.9, "beta2": 0.99}
SGD = {"kind": "sgd", "learningRate": 0.1}

VARIANTS = {
    "adam": {"optimizer": {"kind": "adam", **ADAM}},
    "adam with decay": {"optimizer": {"kind": "adam", **ADAM, "weightDecay": 0.1}},
    "adam with decay of all": {"optimizer": {"kind": "adam", **ADAM, "weightDecay": 0.1, "decay": "all"}},
    "adam with a clipped norm": {"optimizer": {"kind": "adam", **ADAM}, "clip": {"norm": 5}},
    "adamW": {"optimizer": {"kind": "adamW", **ADAM, "weightDecay": 0.1}},
    "adamW with decay of all": {"optimizer": {"kind": "adamW", **ADAM, "weightDecay": 0.1, "decay": "all"}},
    "sgd": {"optimizer": SGD},
    "sgd with decay": {"optimizer": {**SGD, "weightDecay": 0.1}},
    "sgd with momentum": {"optimizer": {**SGD, "momentum": 0.9}},
    "sgd with momentum and decay": {"optimizer": {**SGD, "momentum": 0.9, "weightDecay": 0.1}},
    "sgd with Nesterov's momentum and decay": {
        "optimizer": {**SGD, "momentum": 0.9, "nesterov": True, "weightDecay": 0.1}
    },
    "sgd with a clipped norm": {"optimizer": SGD, "clip": {"norm": 5}},
    "sgd with clipped values": {"optimizer": SGD, "clip": {"value": 0.5}},
    "sgd with clipped norm and values": {"optimizer": SGD, "clip": {"norm": 8, "value": 0.5}},
    "rmsprop": {"optimizer": RMSPROP},
    "rmsprop with decay": {"optimizer": {**RMSPROP, "weightDecay": 0.1}},
    "rmsprop, centered": {"optimizer": {**RMSPROP, "centered": True}},
    "rmsprop with momentum": {"optimizer": {**RMSPROP, "momentum": 0.9}},
    "rmsprop, centered, with momentum and decay": {
        "optimizer": {**RMSPROP, "centered": True, "momentum": 0.9, "weightDecay": 0.1}
    },
    "lion": {"optimizer": LION},
    "lion with decay": {"optimizer": {**LION, "weightDecay": 0.1}},
}


class Lion(torch.optim.Optimizer):
    """Algorithm 2 of Chen et al., 2023, in float64: PyTorch 1.13 has none."""

    def __init__(self, groups, lr, betas):
        super().__init__(groups, {"lr": lr, "betas": betas, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for p in group["params"]:
                state = self.state[p]
                if not state:
                    state["m"] = torch.zeros_like(p, dtype=torch.float64)
                    state["p"] = p.double()
                m, g = state["m"], p.grad.double()
                direction = torch.sign(beta1 * m + (1 - beta1) * g) + group["weight_decay"] * state["p"]
                state["p"] = state["p"] - group["lr"] * direction
                state["m"] = beta2 * m + (1 - beta2) * g
                p.copy_(state["p"])


def optimizer_of(config, groups):
    kind, rate = config["kind"], config["learningRate"]
    if kind in ("adam", "adamW"):
        make = torch.optim.Adam if kind == "adam" else torch.optim.AdamW
        return make(groups, lr=rate, betas=(config["beta1"], config["beta2"]), eps=config["epsilon"], foreach=False)
    if kind == "sgd":
        momentum, nesterov = config.get("momentum", 0), config.get("nesterov", False)
        return torch.optim.SGD(groups, lr=rate, momentum=momentum, nesterov=nesterov, foreach=False)
    if kind == "rmsprop":
        options = {"momentum": config.get("momentum", 0), "centered": config.get("centered", False)}
        return torch.optim.RMSprop(groups, lr=rate, alpha=config["alpha"], eps=config["epsilon"], foreach=False, **options)
    return Lion(groups, lr=rate, betas=(config["beta1"], config["beta2"]))


def run(variant, start, gradients):
    """The flat vector after each step, and the norm of each gradient."""
    config, clip = variant["optimizer"], variant.get("clip", {})
    parameters = [nn.Parameter(part.clone()) for part in start.split([length for _, _, length in TENSORS])]
    decays = [config.get("decay") == "all" or role == "weight" for _, role, _ in TENSORS]
    decay = config.get("weightDecay", 0)
    groups = [{"params": [p], "weight_decay": decay * decayed} for p, decayed in zip(parameters, decays)]
    optimizer = optimizer_of(config, groups)
    history, norms = [], []
    for gradient in gradients:
        for p, part in zip(parameters, (gradient / DIVISOR).split([p.numel() for p in parameters])):
            p.grad = part.clone()
        norms.append(torch.linalg.vector_norm(gradient.double() / DIVISOR).item())
        if "norm" in clip:
            nn.utils.clip_grad_norm_(parameters, clip["norm"])
        if "value" in clip:
            nn.utils.clip_grad_value_(parameters, clip["value"])
        optimizer.step()
        history.append(torch.cat([p.detach() for p in parameters]).clone())
    return history, norms


def averaged(history, start, decay):
    """A moving average as timm's ModelEma keeps it: from the first weights on, with one decay; in float64."""
    average = start.double()
    for weights in history:
        average = decay * average + (1 - decay) * weights.double()
    return average


def optimizers():
    start = torch.randn(LENGTH)
    gradients = [DIVISOR * torch.randn(LENGTH) * (1 + step % 3) for step in range(STEPS)]
    tensors = {"start": start, "gradientSums": torch.stack(gradients)}
    for name, variant in VARIANTS.items():
        history, norms = run(variant, start, gradients)
        tensors[f"{name}.first"] = history[0]
        tensors[f"{name}.last"] = history[-1]
        if name == "sgd":
            tensors["sgd.averaged"] = averaged(history, start, 0.9)
    save("optimizers.safetensors", tensors)
    layout = [{"name": name, "role": role, "length": length} for name, role, length in TENSORS]
    result = {"torch": torch.__version__, "divisor": DIVISOR, "tensors": layout, "norms": norms, "variants": VARIANTS}
    (GOLDEN / "optimizers.json").write_text(json.dumps(result, indent=2) + "\n")


BASE = 0.1
STEPS_PER_EPOCH = 7
EPOCHS = 12
TOTAL = STEPS_PER_EPOCH * EPOCHS


def rates(schedule, warmup=0, start=0.01, per_epoch=False, base=BASE):
    """Learning rates of all steps; `schedule` makes a scheduler that is told of steps or of epochs."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=base)
    values = []
    if warmup:
        ramp = lr.LinearLR(optimizer, start_factor=start, total_iters=warmup)
        for _ in range(warmup):
            values.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            ramp.step()
        # As SequentialLR does, but with a scheduler that counts from its own beginning.
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=base)
    scheduler = schedule(optimizer)
    for step in range(TOTAL - warmup):
        values.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if not per_epoch or (step + 1) % STEPS_PER_EPOCH == 0:
            scheduler.step()
    return values


def one_cycle(total, **options):
    return lambda optimizer: lr.OneCycleLR(optimizer, max_lr=BASE, total_steps=total, cycle_momentum=False, **options)


def schedules():
    warm = {"warmup": {"steps": 10, "from": 0.25}}
    constant = lambda optimizer: lr.LambdaLR(optimizer, lambda _: 1.0)
    milestones = lambda optimizer: lr.MultiStepLR(optimizer, [2, 5, 9], gamma=0.5)
    entries = [
        ({"kind": "constant", **warm}, rates(constant, 10, 0.25)),
        ({"kind": "step", "every": 4, "gamma": 0.3}, rates(lambda o: lr.StepLR(o, 4, 0.3), per_epoch=True)),
        ({"kind": "step", "milestones": [2, 5, 9], "gamma": 0.5}, rates(milestones, per_epoch=True)),
        (
            {"kind": "step", "milestones": [2, 5, 9], "gamma": 0.5, "warmup": {"epochs": 2, "from": 0.1}},
            rates(milestones, 2 * STEPS_PER_EPOCH, 0.1, per_epoch=True),
        ),
        ({"kind": "exponential", "gamma": 0.9}, rates(lambda o: lr.ExponentialLR(o, 0.9), per_epoch=True)),
        ({"kind": "cosine", "min": 0.001}, rates(lambda o: lr.CosineAnnealingLR(o, TOTAL, 0.001))),
        ({"kind": "cosine", **warm}, rates(lambda o: lr.CosineAnnealingLR(o, TOTAL - 10), 10, 0.25)),
        (
            {"kind": "cosine", "period": 3},
            rates(lambda o: lr.CosineAnnealingWarmRestarts(o, 3 * STEPS_PER_EPOCH)),
        ),
        (
            {"kind": "cosine", "period": 2, "multiplier": 2, "min": 0.01},
            rates(lambda o: lr.CosineAnnealingWarmRestarts(o, 2 * STEPS_PER_EPOCH, 2, 0.01)),
        ),
        ({"kind": "oneCycle"}, rates(one_cycle(TOTAL))),
        (
            {"kind": "oneCycle", "pctStart": 0.4, "divFactor": 10, "finalDivFactor": 100, "anneal": "linear"},
            rates(one_cycle(TOTAL, pct_start=0.4, div_factor=10, final_div_factor=100, anneal_strategy="linear")),
        ),
        ({"kind": "polynomial"}, rates(lambda o: lr.PolynomialLR(o, TOTAL))),
        ({"kind": "polynomial", "power": 2.5}, rates(lambda o: lr.PolynomialLR(o, TOTAL, 2.5))),
        ({"kind": "polynomial", "power": 2, **warm}, rates(lambda o: lr.PolynomialLR(o, TOTAL - 10, 2), 10, 0.25)),
    ]
    result = {
        "torch": torch.__version__,
        "learningRate": BASE,
        "stepsPerEpoch": STEPS_PER_EPOCH,
        "totalSteps": TOTAL,
        "schedules": [{"schedule": schedule, "rates": values} for schedule, values in entries],
        "plateaus": plateaus(),
    }
    (GOLDEN / "schedules.json").write_text(json.dumps(result, indent=1) + "\n")


def plateaus():
    """Losses that fall, stall, fall a little and rise, with the learning rate after each epoch."""
    random = np.random.default_rng(3)
    losses = [float(loss) for loss in np.concatenate([np.geomspace(2, 0.5, 12), 0.5 + 0.02 * random.random(30)])]
    variants = [
        {"factor": 0.5, "patience": 2, "threshold": 1e-4, "cooldown": 0, "min": 0},
        {"factor": 0.5, "patience": 2, "threshold": 0.1, "cooldown": 3, "min": 0},
        {"factor": 0.1, "patience": 0, "threshold": 1e-4, "cooldown": 0, "min": 0.003},
    ]
    results = []
    for variant in variants:
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=BASE)
        options = {key: variant[key] for key in ("factor", "patience", "threshold", "cooldown")}
        scheduler = lr.ReduceLROnPlateau(optimizer, min_lr=variant["min"], eps=0, **options)
        values = []
        for loss in losses:
            scheduler.step(loss)
            values.append(optimizer.param_groups[0]["lr"])
        results.append({"schedule": {"kind": "plateau", **variant}, "losses": losses, "rates": values})
    return results


def main():
    torch.manual_seed(21)
    torch.set_num_threads(1)
    optimizers()
    schedules()


if __name__ == "__main__":
    main()
