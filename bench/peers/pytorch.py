#!/usr/bin/env python3
"""Times one workload in PyTorch on one thread, or in DDP over gloo in several processes of one thread each.

    pytorch.py WORKLOAD [--seconds 2] [--processes 2]        pytorch.py --version

Prints one line of JSON. Batches are slices of tensors in memory, so that only training is timed.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

NUM_ROWS = 8192
WARMUP_STEPS = 10

try:
    import torch
    from torch import nn
except ImportError:
    torch = None


def build(workload):
    """The workload's layers as a Sequential; activations are modules of their own."""
    modules, shape = [], list(workload["input"])
    for layer in workload["layers"]:
        kind = layer["kind"]
        if kind == "dense":
            modules.append(nn.Linear(shape[0], layer["units"]))
            shape = [layer["units"]]
        elif kind == "conv2d":
            modules.append(nn.Conv2d(shape[0], layer["filters"], layer["kernelSize"], padding=layer["padding"]))
            shape[0] = layer["filters"]
        elif kind == "maxPool2d":
            modules.append(nn.MaxPool2d(layer["size"]))
            shape = [shape[0], shape[1] // layer["size"], shape[2] // layer["size"]]
        elif kind == "flatten":
            modules.append(nn.Flatten())
            shape = [shape[0] * shape[1] * shape[2]]
        else:
            raise ValueError(f"no PyTorch module is known for a layer of kind {kind}")
        if layer.get("activation") == "relu":
            modules.append(nn.ReLU())
    return nn.Sequential(*modules)


def samples(workload):
    features = torch.rand(NUM_ROWS, *workload["input"]) - 0.5
    outputs = workload["layers"][-1]["units"]
    if workload["loss"] == "mse":
        return features, torch.rand(NUM_ROWS, outputs)
    return features, torch.arange(NUM_ROWS) % outputs


def trainer(workload, model, batch_size):
    """A function that takes the next optimizer step."""
    features, targets = samples(workload)
    loss_function = nn.MSELoss() if workload["loss"] == "mse" else nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters())
    starts = iter(range(0, 2**60, batch_size))

    def step():
        start = next(starts) % (NUM_ROWS - batch_size + 1)
        optimizer.zero_grad(set_to_none=True)
        loss_function(model(features[start : start + batch_size]), targets[start : start + batch_size]).backward()
        optimizer.step()

    return step


def seconds_of(step, count):
    started = time.perf_counter()
    for _ in range(count):
        step()
    return time.perf_counter() - started


def steps_in(step, seconds):
    """How many steps take about so long, found after a warm-up."""
    seconds_of(step, WARMUP_STEPS)
    return max(1, round(seconds / (seconds_of(step, WARMUP_STEPS) / WARMUP_STEPS)))


def time_alone(workload, seconds):
    step = trainer(workload, build(workload), workload["batchSize"])
    count = steps_in(step, seconds)
    return count * workload["batchSize"] / seconds_of(step, count)


def time_rank(rank, processes, workload, seconds, folder):
    """One process of DDP: a share of each batch, as many steps as rank 0 says."""
    torch.set_num_threads(1)
    method = f"file://{folder}/meeting"
    torch.distributed.init_process_group("gloo", init_method=method, rank=rank, world_size=processes)
    model = nn.parallel.DistributedDataParallel(build(workload))
    step = trainer(workload, model, workload["batchSize"] // processes)
    count = torch.tensor(steps_in(step, seconds))
    torch.distributed.broadcast(count, 0)
    torch.distributed.barrier()
    taken = seconds_of(step, int(count))
    torch.distributed.barrier()
    if rank == 0:
        (Path(folder) / "speed").write_text(str(int(count) * workload["batchSize"] / taken))
    torch.distributed.destroy_process_group()


def time_together(workload, seconds, processes):
    with tempfile.TemporaryDirectory() as folder:
        arguments = (processes, workload, seconds, folder)
        torch.multiprocessing.spawn(time_rank, arguments, nprocs=processes)
        return float((Path(folder) / "speed").read_text())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("workload", nargs="?")
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--version", action="store_true")
    options = parser.parse_args()
    name = "pytorch" if options.processes == 1 else "pytorch-ddp"
    if torch is None:
        print(json.dumps({"name": name, "skipped": "not installed: this Python has no module torch"}))
        return
    if options.processes > 1 and not torch.distributed.is_available():
        print(json.dumps({"name": name, "skipped": "this PyTorch was built without torch.distributed"}))
        return
    result = {"name": name, "version": torch.__version__}
    if not options.version:
        # gloo would look up the host's own name, which need not resolve.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        torch.set_num_threads(1)
        workloads = json.loads((Path(__file__).parent / "workloads.json").read_text())
        workload = workloads[options.workload]
        alone = options.processes == 1
        speed = time_alone(workload, options.seconds) if alone else time_together(
            workload, options.seconds, options.processes
        )
        result.update(workload=options.workload, samplesPerSecond=speed)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
