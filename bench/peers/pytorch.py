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

# BLAS libraries start threads of their own, and read how many when they are loaded.
os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")
try:
    import torch
    from torch import nn
except ImportError:
    torch = None


def build(workload):
    """The workload's layers as a Sequential; activations are modules of their own."""
    modules, shape = [], list(workload["inputShape"])
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
    features = torch.rand(NUM_ROWS, *workload["inputShape"]) - 0.5
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


def rate(step, seconds):
    """Steps per second, over as many as take about so long."""
    started, count = time.perf_counter(), 0
    while count == 0 or time.perf_counter() - started < seconds:
        step()
        count += 1
    return count / (time.perf_counter() - started)


def time_alone(workload, seconds):
    step = trainer(workload, build(workload), workload["batchSize"])
    rate(step, seconds / 2)
    return rate(step, seconds) * workload["batchSize"]


def time_rank(rank, processes, workload, seconds, folder):
    """One process of DDP: a share of each batch, and as many steps as rank 0 says, since each waits for the others."""
    torch.set_num_threads(1)
    method = f"file://{folder}/meeting"
    torch.distributed.init_process_group("gloo", init_method=method, rank=rank, world_size=processes)
    model = nn.parallel.DistributedDataParallel(build(workload))
    step = trainer(workload, model, workload["batchSize"] // processes)
    started = time.perf_counter()
    for _ in range(WARMUP_STEPS):
        step()
    count = torch.tensor(max(1, round(seconds * WARMUP_STEPS / (time.perf_counter() - started))))
    torch.distributed.broadcast(count, 0)
    started = time.perf_counter()
    for _ in range(int(count)):
        step()
    torch.distributed.barrier()
    if rank == 0:
        speed = int(count) * workload["batchSize"] / (time.perf_counter() - started)
        (Path(folder) / "speed").write_text(str(speed))
    torch.distributed.destroy_process_group()


def time_together(workload, seconds, processes):
    with tempfile.TemporaryDirectory() as folder:
        arguments = (processes, workload, seconds, folder)
        torch.multiprocessing.spawn(time_rank, arguments, nprocs=processes)
        return float((Path(folder) / "speed").read_text())


def loaded_libraries():
    """Paths of what is mapped into this process; nothing where the system does not tell."""
    maps = Path("/proc/self/maps")
    return maps.read_text() if maps.exists() else ""


def reason_to_skip(processes):
    if torch is None:
        return "not installed: this Python has no module torch"
    if processes > 1 and not torch.distributed.is_available():
        return "this PyTorch was built without torch.distributed"
    # Debian's package uses whatever BLAS is there. Without a real one it is ten times slower, which is no comparison.
    if "/blas/libblas" in loaded_libraries():
        return "this PyTorch runs on the reference BLAS: install an optimized one, such as libopenblas0-pthread"
    return None


def version():
    return f"{torch.__version__} OpenBLAS" if "openblas" in loaded_libraries() else torch.__version__


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("workload", nargs="?")
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--version", action="store_true")
    options = parser.parse_args()
    name = "pytorch" if options.processes == 1 else "pytorch-ddp"
    skipped = reason_to_skip(options.processes)
    if skipped is not None:
        print(json.dumps({"name": name, "skipped": skipped}))
        return
    result = {"name": name, "version": version()}
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
