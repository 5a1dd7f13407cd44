"""Where a training runs: its device, its processes (spawned here or by torchrun), and how they meet."""

from __future__ import annotations

import os
import pickle
import socket
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import torch
from torch import distributed
from torch.multiprocessing.spawn import ProcessException, spawn

from rnnpool_mcu.errors import UsageError, UserError

DEVICES = ("auto", "cpu", "cuda")
LONGEST_WAIT = timedelta(hours=2)
"""For one another; a validation of a large model takes long, and only the first process does it."""
TORCHRUN_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK")


@dataclass(frozen=True)
class Place:
    """One process of a training: its device, its number among all and on its machine, how many there are."""

    device: torch.device
    rank: int = 0
    local_rank: int = 0
    processes: int = 1

    @property
    def first(self) -> bool:
        """Whether this process validates, logs and saves."""
        return self.rank == 0

    def wait(self) -> None:
        """Until all processes are here."""
        if self.processes > 1:
            distributed.barrier()

    def share(self, value: Any) -> Any:
        """The first process's plain value, for all."""
        if self.processes == 1:
            return value
        values = [value]
        distributed.broadcast_object_list(values, src=0, device=torch.device("cpu"))
        return values[0]

    def gather(self, value: Any) -> list[Any]:
        """Every process's plain value, in their order."""
        if self.processes == 1:
            return [value]
        values: list[Any] = [None] * self.processes
        distributed.all_gather_object(values, value)
        return values


def choose_device(name: str) -> str:
    """ "cpu" or "cuda" for one of DEVICES; UsageError when there is no such device."""
    if name not in DEVICES:
        raise UsageError(f"train: device {name!r} is not known; known: {', '.join(DEVICES)}")
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("train: torch finds no CUDA device here; leave --device out, or give --device cpu")
    return name


def torchrun_place(device: str) -> Place | None:
    """This process's place when torchrun (or its like) started it, None otherwise."""
    given = [os.environ.get(name) for name in TORCHRUN_VARIABLES]
    if any(value is None for value in given):
        return None
    rank, processes, local_rank = (int(value or 0) for value in given)
    return Place(_device(device, local_rank), rank, local_rank, processes)


def is_first_process() -> bool:
    """False in the processes of torchrun that have nothing to say."""
    return os.environ.get("RANK", "0") == "0" or "WORLD_SIZE" not in os.environ


def process_count(processes: int) -> int:
    """How many processes train: torchrun's number, or `processes`; UsageError when the two differ."""
    world = os.environ.get("WORLD_SIZE")
    if world is None or any(name not in os.environ for name in TORCHRUN_VARIABLES):
        return processes
    if processes not in (1, int(world)):
        raise UsageError(
            f"train: --processes {processes} under torchrun with {world} processes; leave --processes out"
        )
    return int(world)


def launch(
    train: Callable[..., dict[str, Any]], processes: int, device: str, *arguments: Any
) -> dict[str, Any]:
    """Run `train(place, *arguments)` in every process; returns what the first one returned.

    Under torchrun this process is one of its; otherwise `processes` of them are started. `train` and what
    it takes and gives must be picklable. A UserError or an OSError of any process is raised here.
    """
    place = torchrun_place(device)
    if place is not None:
        return _run_together(place, "env://", train, *arguments)
    if processes == 1:
        return train(Place(_device(device, 0)), *arguments)
    with tempfile.TemporaryDirectory(prefix="rnnpool-mcu-") as folder:
        return _spawn_all(Path(folder), train, processes, device, arguments)


def _spawn_all(
    folder: Path, train: Any, processes: int, device: str, arguments: tuple[Any, ...]
) -> dict[str, Any]:
    """`processes` new processes, which hand results and errors over as files in `folder`.

    None is left behind, however this one ends.
    """
    address, others = f"tcp://127.0.0.1:{_free_port()}", set(active_children())
    try:
        spawn(_spawned, (folder, address, processes, device, train, arguments), nprocs=processes)
    except ProcessException:
        for path in sorted(folder.glob("error*")):
            raise pickle.loads(path.read_bytes()) from None
        raise
    finally:
        for child in set(active_children()) - others:
            child.terminate()
            child.join()
    return dict(pickle.loads((folder / "result").read_bytes()))


def _spawned(
    rank: int, folder: Path, address: str, processes: int, device: str, train: Any, arguments: Any
) -> None:
    def train_or_tell(*given: Any) -> dict[str, Any]:
        """Tells before the others notice that this process is gone, and fail for it."""
        try:
            return dict(train(*given))
        except (UserError, OSError) as error:
            (folder / f"error{rank:04}").write_bytes(pickle.dumps(error))
            raise SystemExit(getattr(error, "exit_code", 1)) from error

    place = Place(_device(device, rank), rank, rank, processes)
    result = _run_together(place, address, train_or_tell, *arguments)
    if place.first:
        (folder / "result").write_bytes(pickle.dumps(result))


def _run_together(place: Place, address: str, train: Any, *arguments: Any) -> dict[str, Any]:
    backend = "gloo" if place.device.type == "cpu" else "cpu:gloo,cuda:nccl"
    if place.device.type == "cpu":  # threads of several processes would fight for the cores
        torch.set_num_threads(1)
    else:
        torch.cuda.set_device(place.device)
    distributed.init_process_group(
        backend, init_method=address, rank=place.rank, world_size=place.processes, timeout=LONGEST_WAIT
    )
    try:
        return dict(place.share(train(place, *arguments)))
    finally:
        distributed.destroy_process_group()


def _device(name: str, local_rank: int) -> torch.device:
    if name == "cpu":
        return torch.device("cpu")
    return torch.device("cuda", local_rank % torch.cuda.device_count())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def average_gradients(model: torch.nn.Module, progress: float, place: Place) -> float:
    """Mean of the gradients and of the progress over all processes; returns that progress.

    So all take the same step, and end together.
    """
    if place.processes == 1:
        return progress
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    own = torch.tensor([progress], device=place.device)
    flat = torch.cat([gradient.flatten() for gradient in gradients] + [own])
    distributed.all_reduce(flat)
    flat /= place.processes
    offset = 0
    for gradient in gradients:
        gradient.copy_(flat[offset : offset + gradient.numel()].view_as(gradient))
        offset += gradient.numel()
    return float(flat[-1])
