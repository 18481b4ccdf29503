#!/usr/bin/env python3
"""Writes test/golden/losses.safetensors, losses.json and metrics.json: losses with their gradients and 20 steps of
training as PyTorch computes them, and metrics by their definitions in numpy.

Run once with Debian's python3-torch (1.13.1): /usr/bin/python3 scripts/golden/losses.py
"""

import json

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from layer_golden import GOLDEN, save

STEPS = 20
BATCH = 16
ROWS = 48
IGNORED = -100


def class_mean(y, label, **options):
    """Cross-entropy of [rows, classes] or [rows, positions, classes]: PyTorch wants the classes second."""
    return F.cross_entropy(y if y.dim() == 2 else y.transpose(1, 2), label, **options)


def weighted_mean(losses, weights):
    """Losses [rows, columns] of rows with weights [rows]: the mean that per-class weights have in PyTorch."""
    return (losses.mean(dim=1) * weights).sum() / weights.sum()


def folded(label, class_weights):
    """What Lockstep is given: labels in range, and a weight for each, 0 where the label is ignored."""
    is_kept = label != IGNORED
    kept = torch.where(is_kept, label, torch.zeros_like(label))
    return kept, torch.where(is_kept, class_weights[kept], torch.zeros(()))


def losses(tensors):
    def add(name, y, target, loss, weights=None):
        loss.backward()
        tensors.update({f"{name}.y": y, f"{name}.target": target, f"{name}.loss": loss, f"{name}.dY": y.grad})
        if weights is not None:
            tensors[f"{name}.weights"] = weights

    def logits(*shape):
        return (3 * torch.randn(*shape)).requires_grad_()

    row_weights = torch.tensor([0.5, 0.0, 2.0, 1.0, 0.25] * 4)[:19]
    for name, function in {
        "mse": F.mse_loss,
        "mae": F.l1_loss,
        "huber": lambda y, t, reduction="mean": F.huber_loss(y, t, delta=0.625, reduction=reduction),
        "binaryCrossEntropy": F.binary_cross_entropy_with_logits,
    }.items():
        target = torch.rand(19, 5) if name == "binaryCrossEntropy" else torch.randn(19, 5)
        y = logits(19, 5)
        add(name, y, target, function(y, target))
        y = logits(19, 5)
        loss = weighted_mean(function(y, target, reduction="none"), row_weights)
        add(f"{name}.weighted", y, target, loss, row_weights)

    label = torch.randint(0, 11, (19,))
    y = logits(19, 11)
    add("crossEntropy", y, label, class_mean(y, label))
    y = logits(19, 11)
    add("crossEntropy.smoothed", y, label, class_mean(y, label, label_smoothing=0.15))
    class_weights = torch.rand(11) + 0.1
    y = logits(19, 11)
    add("crossEntropy.weighted", y, label, class_mean(y, label, weight=class_weights), class_weights[label])
    sequence = torch.randint(0, 11, (6, 4))
    sequence[torch.rand(6, 4) < 0.3] = IGNORED
    kept, weights = folded(sequence, torch.ones(11))
    for name, options in {"sequence": {}, "sequence.smoothed": {"label_smoothing": 0.15}}.items():
        y = logits(6, 4, 11)
        add(name, y, kept, class_mean(y, sequence, ignore_index=IGNORED, **options), weights)
    kept, weights = folded(sequence, class_weights)
    y = logits(6, 4, 11)
    add("sequence.weighted", y, kept, class_mean(y, sequence, weight=class_weights, ignore_index=IGNORED), weights)


def train(name, tensors, outputs, targets, loss_of, weights=None):
    """Batches in file order, over and over, with Adam's defaults; `loss_of` takes outputs and row numbers."""
    features = torch.randn(ROWS, 6)
    model = nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, outputs))
    tensors.update({f"{name}.{key}.initial": value.clone() for key, value in model.state_dict().items()})
    tensors.update({f"{name}.features": features, f"{name}.targets": targets})
    if weights is not None:
        tensors[f"{name}.weights"] = weights
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2, betas=(0.9, 0.999), eps=1e-8, foreach=False)
    history = []
    for step in range(STEPS):
        rows = torch.arange(step * BATCH % ROWS, step * BATCH % ROWS + BATCH)
        optimizer.zero_grad()
        loss = loss_of(model(features[rows]), rows)
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    tensors.update({f"{name}.{key}.final": value for key, value in model.state_dict().items()})
    return history


def trainings(tensors):
    values = torch.randn(ROWS, 2)
    weights = torch.rand(ROWS)
    weights[::7] = 0
    chances = torch.rand(ROWS, 2)
    labels = torch.randint(0, 4, (ROWS,))
    sparse = labels.clone()
    sparse[::5] = IGNORED
    class_weights = torch.tensor([0.5, 1.0, 2.0, 4.0])
    kept, folded_weights = folded(sparse, class_weights)
    return {
        "train.mae": train("train.mae", tensors, 2, values, lambda y, r: F.l1_loss(y, values[r])),
        "train.huber": train(
            "train.huber",
            tensors,
            2,
            values,
            lambda y, r: weighted_mean(F.huber_loss(y, values[r], delta=0.5, reduction="none"), weights[r]),
            weights,
        ),
        "train.binary": train(
            "train.binary",
            tensors,
            2,
            chances,
            lambda y, r: weighted_mean(
                F.binary_cross_entropy_with_logits(y, chances[r], reduction="none"), weights[r]
            ),
            weights,
        ),
        "train.smoothed": train(
            "train.smoothed", tensors, 4, labels, lambda y, r: class_mean(y, labels[r], label_smoothing=0.1)
        ),
        "train.classes": train(
            "train.classes",
            tensors,
            4,
            kept,
            lambda y, r: class_mean(y, sparse[r], weight=class_weights, ignore_index=IGNORED),
            folded_weights,
        ),
    }


def area_under_curve(score, label, weight):
    """The chance that a positive outscores a negative, pair by pair; a tie is half a win."""
    positive, negative = label == 1, label == 0
    difference = score[positive][:, None] - score[negative][None, :]
    wins = np.where(difference > 0, 1.0, np.where(difference == 0, 0.5, 0.0))
    pairs = weight[positive][:, None] * weight[negative][None, :]
    return float((wins * pairs).sum() / pairs.sum())


def regression_metrics(actual, predicted, weight):
    residual = actual - predicted
    mean = np.average(actual, weights=weight)
    shown = actual != 0
    ratio = np.abs(residual[shown]) / np.abs(actual[shown])
    return {
        "rmse": float(np.sqrt(np.average(residual**2, weights=weight))),
        "mae": float(np.average(np.abs(residual), weights=weight)),
        "r2": float(1 - (weight * residual**2).sum() / (weight * (actual - mean) ** 2).sum()),
        "mape": float(np.average(ratio, weights=weight[shown])),
    }


def class_metrics(logits, label, weight):
    predicted = logits.argmax(axis=1)
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    top3 = np.array([row.argsort()[::-1][:3] for row in logits])
    occurring = np.union1d(label[weight > 0], predicted[weight > 0])
    scores = []
    for c in occurring:
        right = weight[(predicted == c) & (label == c)].sum()
        precision = right / max(weight[predicted == c].sum(), 1e-300)
        recall = right / max(weight[label == c].sum(), 1e-300)
        scores.append((precision, recall, 2 * precision * recall / max(precision + recall, 1e-300)))
    precision, recall, f1 = (float(np.mean([score[i] for score in scores])) for i in range(3))
    return {
        "accuracy": float(np.average(predicted == label, weights=weight)),
        "top3": float(np.average((top3 == label[:, None]).any(axis=1), weights=weight)),
        "macro": {"precision": precision, "recall": recall, "f1": f1},
        "logLoss": float(np.average(-log_p[np.arange(len(label)), label], weights=weight)),
    }


def metrics():
    random = np.random.default_rng(3)
    weight = random.choice([0.0, 0.5, 1.0, 2.0], 40)
    actual = np.round(random.normal(size=40), 3).astype(np.float32).astype(np.float64)
    actual[::9] = 0
    predicted = (actual + 0.3 * random.normal(size=40)).astype(np.float32).astype(np.float64)
    logits = np.round(random.normal(size=(40, 6)), 3).astype(np.float32).astype(np.float64)
    label = random.integers(0, 5, 40)
    # Rounded, so that scores tie.
    score = np.round(random.normal(size=40), 1).astype(np.float32).astype(np.float64)
    is_positive = (score + random.normal(size=40) > 0).astype(int)
    ones = np.ones(40)
    return {
        "weight": weight.tolist(),
        "regression": {
            "actual": actual.tolist(),
            "predicted": predicted.tolist(),
            "plain": regression_metrics(actual, predicted, ones),
            "weighted": regression_metrics(actual, predicted, weight),
        },
        "classes": {
            "logits": logits.reshape(-1).tolist(),
            "label": label.tolist(),
            "plain": class_metrics(logits, label, ones),
            "weighted": class_metrics(logits, label, weight),
        },
        "binary": {
            "score": score.tolist(),
            "label": is_positive.tolist(),
            "plain": {"rocAuc": area_under_curve(score, is_positive, ones)},
            "weighted": {"rocAuc": area_under_curve(score, is_positive, weight)},
        },
    }


def main():
    torch.manual_seed(21)
    torch.set_num_threads(1)
    tensors = {}
    losses(tensors)
    result = {"torch": torch.__version__, "batchSize": BATCH, "losses": trainings(tensors)}
    save("losses.safetensors", tensors)
    (GOLDEN / "losses.json").write_text(json.dumps(result, indent=2) + "\n")
    (GOLDEN / "metrics.json").write_text(json.dumps(metrics(), indent=2) + "\n")


if __name__ == "__main__":
    main()
