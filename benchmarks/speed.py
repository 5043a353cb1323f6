"""Speed of each part on one machine, and its share of what the machine can do.

    python benchmarks/speed.py

Training and prediction use the published network and crops (24 and 72 feature maps, 64 in the
last block; 8 crops of 252 x 252; 32 noisy passes). Clustering groups the embeddings of drawn
discs. The published code's figures were measured once on an idle 2-core AMD EPYC (AVX-512 bf16)
and are quoted, not measured here: compare on that machine only.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from cellulus.methods import ObjectCentric
from cellulus.methods.decoder import Observation
from cellulus.methods.object_centric.decoding import EmbeddingDecoder
from cellulus.nn.conv import channels_last
from cellulus.nn.device import arithmetic, choose_device, has_fast_bf16
from cellulus.nn.unet import UNet
from cellulus.ops.scores import evaluate_labels

if TYPE_CHECKING:
    from collections.abc import Callable

PUBLISHED = {
    "training step [s]": 13.8,
    "prediction, 32 passes [Mpx/s]": 0.0016,
    "clustering [Mpx/s]": 0.012,
    "scoring [Mpx/s]": 0.45,
}
MULTIPLY_ADDS = 2


def seconds(work: Callable[[], Any], repeats: int = 5) -> float:
    """Return the median time of `work`, after one run that does not count."""
    work()
    spent = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        spent.append(time.perf_counter() - began)
    return float(np.median(spent))


def peak(dtype: torch.dtype, edge: int = 2048) -> float:
    """Return the rate of a matrix product [FLOP/s]."""
    a, b = (torch.rand(edge, edge).to(dtype) for _ in range(2))
    return MULTIPLY_ADDS * edge**3 / seconds(lambda: a @ b)


def operations(network: UNet, image: torch.Tensor) -> float:
    """Return the floating-point operations of one pass forward, convolutions alone."""
    total = 0

    def count(layer: torch.nn.Module, _: Any, output: torch.Tensor) -> None:
        nonlocal total
        total += MULTIPLY_ADDS * layer.weight[0].numel() * output.numel()  # type: ignore[operator, index]

    hooks = [
        layer.register_forward_hook(count)
        for layer in network.modules()
        if isinstance(layer, torch.nn.Conv2d)
    ]
    with torch.inference_mode():
        network(image)
    for hook in hooks:
        hook.remove()
    return total


def training(network: UNet, image: torch.Tensor) -> float:
    """Return the time of one optimiser step on 8 crops."""
    objective = ObjectCentric().objective(2, 20.0)
    optimiser = torch.optim.AdamW(network.parameters())
    place = choose_device("cpu")

    def step() -> None:
        with arithmetic(place, "auto"):
            output = network(image)
        optimiser.zero_grad()
        loss = objective(output, image, torch.Generator().manual_seed(0))["loss"]
        loss.backward()
        optimiser.step()

    return seconds(step, 3)


def prediction(network: UNet, image: torch.Tensor) -> float:
    """Return the time of 32 noisy passes over one tile."""
    ask = ObjectCentric(passes=32).inference(20.0, 0, 4)

    def predict() -> None:
        with torch.inference_mode(), arithmetic(choose_device("cpu"), "auto"):
            ask(network, image[0], (0, 0))

    return seconds(predict, 3)


def discs(shape: tuple[int, int], step: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """Return labels of discs 20 wide on a lattice, and the offset of every pixel to its middle."""
    place = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"))
    middle = place // step * step + step // 2
    away = middle - place
    inside = (away**2).sum(axis=0) <= 100
    number = (place[0] // step) * (shape[1] // step + 1) + place[1] // step + 1
    return np.where(inside, number, 0).astype(np.uint32), away.astype(np.float32)


def decoding(labels: np.ndarray, offsets: np.ndarray) -> tuple[float, float]:
    """Return the time of clustering alone, and of all from embeddings to labels."""
    chance = np.random.default_rng(0)
    noisy = offsets + chance.normal(0, 1, offsets.shape).astype(np.float32)
    uncertainty = np.where(labels > 0, 0.5, 9.0).astype(np.float32)
    prediction = np.concatenate([noisy, uncertainty[None]])
    image = (labels > 0).astype(np.float32)[None]
    observation = Observation(prediction, image, (1.0, 1.0), (0, 0))
    decoder = EmbeddingDecoder(ObjectCentric(), 2, 20.0)
    certain = labels > 0
    return (
        seconds(lambda: decoder.cluster(observation, certain)),
        seconds(lambda: decoder(observation)),
    )


def main() -> None:
    """Print the table."""
    shape = (1000, 1000)
    torch.manual_seed(0)
    network = UNet(2, 1, 2, features=24, growth=3, depth=1, head_features=64)
    crops = torch.rand(8, 1, 252, 252).to(memory_format=channels_last(2))
    work = operations(network, crops)
    is_bf16 = has_fast_bf16(torch.device("cpu"))
    limit = peak(torch.bfloat16 if is_bf16 else torch.float32)
    print(f"{torch.get_num_threads()} threads, {'bf16' if is_bf16 else 'fp32'} matrix product")
    print(f"peak {limit / 1e9:.0f} GFLOP/s\n")
    step = training(network, crops)
    tile = prediction(network, crops)
    pixels = crops[0].numel() / 1e6
    labels, offsets = discs(shape)
    grouped, decoded = decoding(labels, offsets)
    scored = seconds(lambda: evaluate_labels(np.roll(labels, 2, 0), labels, (0.5, 0.7, 0.9)))
    size = labels.size / 1e6
    rows = [
        ("training step [s]", step, 3 * work / step / limit),
        ("prediction, 32 passes [Mpx/s]", pixels / tile, 32 * work / 8 / tile / limit),
        ("clustering [Mpx/s]", size / grouped, None),
        ("embeddings to labels [Mpx/s]", size / decoded, None),
        ("scoring [Mpx/s]", size / scored, None),
    ]
    for name, value, share in rows:
        old = PUBLISHED.get(name)
        ratio = "" if old is None else (old / value if "[s]" in name else value / old)
        told = f"{ratio:8.0f}x" if ratio else " " * 9
        print(f"{name:32}{value:10.4g}{told}" + (f"{share:8.0%} of peak" if share else ""))
    copied = seconds(lambda: np.copyto(np.empty_like(labels), labels))
    print(f"\ncopying the labels: {size / copied:.0f} Mpx/s")


if __name__ == "__main__":
    main()
