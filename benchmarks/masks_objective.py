"""The loss of spatial embeddings beside a dense implementation of the published one.

    python benchmarks/masks_objective.py                  on the CPU
    python benchmarks/masks_objective.py --device cuda

One crop of 64 touching discs or balls, 20 wide. Answers are those of a network that starts, and
those of a trained one: then fewer voxels matter to an object. A step is the loss and its gradient
with respect to the answers, without the network; memory is what a step adds to a process of its
own that has done small ones (on a GPU, what torch allocates). The dense loss is the oracle of the
tests, `tests/published_masks_loss.py`.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from cellulus.methods.base import Target
from cellulus.methods.spatial_embedding.objective import SpatialObjective
from cellulus.methods.spatial_embedding.settings import SpatialEmbedding

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from published_masks_loss import published_loss

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

DIAMETER, PITCH = 20.0, 22
LATTICES = {"8 x 8": (8, 8), "4 x 4 x 4": (4, 4, 4)}
STATES = ("start", "trained")
MEBIBYTE = 2**20


def scene(lattice: tuple[int, ...]) -> Target:
    """Return a crop of touching objects on a lattice."""
    ndim = len(lattice)
    lines = [torch.arange(n * PITCH) for n in lattice]
    place = torch.stack(torch.meshgrid(*lines, indexing="ij"))
    away = (place % PITCH + 0.5 - PITCH / 2).square().sum(dim=0).sqrt()
    number = torch.zeros_like(place[0])
    for cell, n in zip(place // PITCH, lattice, strict=True):
        number = number * n + cell
    cells = [torch.arange(n) for n in lattice]
    centres = torch.stack(torch.meshgrid(*cells, indexing="ij"), dim=-1).view(-1, ndim)
    labels = torch.where(away < DIAMETER / 2, number + 1, 0)
    return Target(labels[None], ((centres + 0.5) * PITCH)[None].float())


def answers(target: Target, state: str) -> Tensor:
    """Return raw answers for a scene."""
    labels, centres = target.labels[0], target.centres[0]
    generator = torch.Generator().manual_seed(0)
    output = 0.03 * torch.randn((1, 2 * labels.ndim + 1, *labels.shape), generator=generator)
    if state == "trained":
        lines = [torch.arange(n) + 0.5 for n in labels.shape]
        place = torch.stack(torch.meshgrid(*lines, indexing="ij"))
        offset = centres[(labels - 1).clamp_min(0)].movedim(-1, 0) - place
        offset += torch.randn(offset.shape, generator=generator)
        offset = torch.where(labels > 0, offset, 0)
        output[0, : labels.ndim] += torch.atanh(offset / (2 * DIAMETER))
    return output


def losses(device: str) -> dict[str, Callable[[Tensor, Target], Tensor]]:
    """Return what is compared."""
    objective = SpatialObjective(SpatialEmbedding(), DIAMETER)
    chance = torch.Generator()
    return {
        "dense": lambda o, t: published_loss(o, t.labels, t.centres, DIAMETER),
        "ours": lambda o, t: objective(o, o, chance, t)["loss"],
    }


def measure(lattice: tuple[int, ...], state: str, name: str, device: str) -> tuple[float, ...]:
    """Return value, seconds per step and memory [byte] of a loss, in this process."""
    loss = losses(device)[name]

    def step(target: Target, output: Tensor) -> Tensor:
        output.grad = None
        value = loss(output, target)
        value.backward()
        return value.detach()

    def prepared(lattice: tuple[int, ...]) -> tuple[Target, Tensor]:
        target = scene(lattice)
        output = answers(target, state).to(device).requires_grad_()
        return Target(target.labels.to(device), target.centres.to(device)), output

    step(*prepared((2,) * len(lattice)))
    target, output = prepared(lattice)
    before = taken(device)
    value = float(step(target, output))
    memory = taken(device) - before
    repeats = 3 if name == "dense" else 10
    began = time.perf_counter()
    for _ in range(repeats):
        value = float(step(target, output))
    return value, (time.perf_counter() - began) / repeats, memory


def taken(device: str) -> float:
    """Return the most memory that this process has had [byte]."""
    if device != "cpu":
        return float(torch.cuda.max_memory_allocated())
    factor = 1 if sys.platform == "darwin" else 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * factor)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    device = parser.parse_args().device
    fresh = multiprocessing.get_context("spawn")
    print(f"{torch.get_num_threads()} threads, {device}\n")
    print("objects     answers   loss       value  steps/s  memory [MiB]  faster  less memory")
    for title, lattice in LATTICES.items():
        for state in STATES:
            rows = {}
            for name in ("dense", "ours"):
                with fresh.Pool(1) as pool:
                    rows[name] = pool.apply(measure, (lattice, state, name, device))
                value, seconds, memory = rows[name]
                told = f"{value:10.5f}{1 / seconds:9.2f}{memory / MEBIBYTE:14.1f}"
                if name == "ours":
                    told += f"{rows['dense'][1] / seconds:7.0f}x"
                    told += f"{rows['dense'][2] / max(memory, 1):12.0f}x"
                print(f"{title:12}{state:10}{name:6}{told}")


if __name__ == "__main__":
    main()
