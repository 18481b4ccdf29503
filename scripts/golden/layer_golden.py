"""What golden scripts share: where values go, one layer forward and backward, and 20 steps of a model."""

import importlib.util
from pathlib import Path

import torch

SPEC = importlib.util.spec_from_file_location("make_golden", Path(__file__).resolve().parent.parent / "make-golden.py")
make_golden = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(make_golden)
save = make_golden.save
GOLDEN = make_golden.GOLDEN

STEPS = 20


def record(tensors, name, layer, x):
    """x, y, dY, dX (unless x is made of ids) and every parameter with its gradient, under `name`."""
    shard = x.clone().requires_grad_() if x.is_floating_point() else x
    y = layer(shard)
    d_y = torch.randn_like(y)
    y.backward(d_y)
    tensors.update({f"{name}.x": x, f"{name}.y": y, f"{name}.dY": d_y})
    if shard.grad is not None:
        tensors[f"{name}.dX"] = shard.grad
    for key, parameter in layer.named_parameters():
        tensors.update({f"{name}.weights.{key}": parameter, f"{name}.gradients.{key}": parameter.grad})


def train(name, model, features, targets, batch):
    """Epochs in file order, whose last batch may be short, with Adam's defaults and the mean squared error; returns the losses."""
    arrays = {f"initial.{key}": value.clone() for key, value in floats(model).items()}
    arrays.update({"features": features, "targets": targets})
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, betas=(0.9, 0.999), eps=1e-8, foreach=False)
    history = []
    for step in range(STEPS):
        start = step % -(-len(features) // batch) * batch
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(model(features[start : start + batch]), targets[start : start + batch])
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    arrays.update({f"final.{key}": value for key, value in floats(model).items()})
    model.eval()
    arrays["evaluated"] = model(features)
    save(f"{name}.safetensors", arrays)
    return history


def floats(model):
    """The state without counters of batches."""
    return {key: value for key, value in model.state_dict().items() if value.is_floating_point()}
