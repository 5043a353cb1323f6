"""One training in memory: network, optimiser, a step, a validation, and the state to go on from.

What happens at a step depends on the seed and the step alone, so that a training cut and resumed
is the training uncut. Knows nothing of files.
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from lightning_fabric import Fabric

from cellulus.errors import InputError
from cellulus.methods.base import Target
from cellulus.nn.device import choose_device, has_fast_bf16
from cellulus.pipeline.memory import parts_of
from cellulus.pipeline.model import Card, Model, new_network

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from cellulus.data.batches import Batch
    from cellulus.experiment.sections import Experiment
    from cellulus.nn.unet import UNet

_quiet = logging.getLogger("lightning_fabric")
_quiet.setLevel(max(logging.WARNING, _quiet.level))  # it announces its precision at every start

VALIDATION_BATCHES = 4


def make_fabric(experiment: Experiment, device: str) -> Fabric:
    """Return what places the work: one device, or several that share each batch.

    Raises
    ------
    InputError
        If there are not that many devices, or they cannot share a batch evenly.
    """
    place, settings = choose_device(device), experiment.train
    present = {"cpu": settings.devices, "cuda": torch.cuda.device_count()}.get(place.type, 1)
    if settings.devices > present or settings.batch_size % settings.devices:
        raise InputError(
            "train.devices",
            expected=f"at most {present}, of which train.batch_size is a multiple",
            found=f"{settings.devices}, and batches of {settings.batch_size}",
        )
    is_bf16 = settings.precision == "bf16" or (
        settings.precision == "auto" and has_fast_bf16(place)
    )
    several = settings.devices > 1
    single = [place.index or 0] if place.type == "cuda" else 1
    return Fabric(
        accelerator=place.type,
        devices=settings.devices if several else single,
        strategy="ddp_spawn" if several else "auto",
        precision="bf16-mixed" if is_bf16 else "32-true",
    )


class Learning:
    """A training.

    Parameters
    ----------
    experiment
        The settings.
    card
        What the network is.
    fabric
        Where it runs.
    """

    def __init__(self, experiment: Experiment, card: Card, fabric: Fabric) -> None:
        self.settings, self.seed, self.fabric = experiment.train, experiment.seed, fabric
        self.parts, self.steepest = parts_of(experiment), card.method.steepest
        with torch.random.fork_rng(devices=[]):  # the caller's chance is the caller's
            torch.manual_seed(experiment.seed)
            network = new_network(card)
        optimiser = torch.optim.AdamW(
            network.parameters(),
            lr=self.settings.learning_rate,
            weight_decay=self.settings.weight_decay,
        )
        self.network, self.optimiser = fabric.setup(network, optimiser)
        self.objective = card.method.objective(card.ndim, card.object_voxels)

    def learning_rate(self, step: int) -> float:
        """Return the step size: half a cosine from the set one to zero."""
        share = 0.5 * (1 + math.cos(math.pi * step / self.settings.steps))
        return self.settings.learning_rate * share

    def step(self, step: int, batch: Batch) -> float:
        """Learn from one batch and return its loss."""
        self.network.train()
        for group in self.optimiser.param_groups:
            group["lr"] = self.learning_rate(step)
        self.optimiser.zero_grad()
        total = 0.0
        for part in batch.split(self.parts):
            image, target = self._tensor(part.image), self._target(part)
            chance = self._chance(step)  # the same for every part, as for the whole
            terms = self.objective(self.network(image), image, chance, target)
            loss = terms["loss"] * (len(part.image) / len(batch.image))
            self.fabric.backward(loss)
            total += float(loss.detach())
        if self.steepest is not None:
            self.fabric.clip_gradients(
                self.network, self.optimiser, max_norm=self.steepest, error_if_nonfinite=False
            )
        self.optimiser.step()
        return self._mean(total)

    def agree(self, is_interrupted: bool) -> bool:
        """Return whether any device was interrupted, so that all stop at the same step."""
        return self._mean(float(is_interrupted)) > 0

    def _mean(self, value: float) -> float:
        """Return the mean over all devices."""
        if self.fabric.world_size == 1:
            return value
        mean = self.fabric.all_reduce(torch.tensor(value, device=self.fabric.device))
        return float(cast("Tensor", mean))

    @torch.no_grad()
    def validate(self, batches: Sequence[Batch]) -> tuple[float, Tensor]:
        """Return the mean loss over fixed batches, and the constant part, ``(outputs,)``."""
        self.network.eval()
        losses, constants = [], []
        for number, batch in enumerate(batches):
            image = self._tensor(batch.image)
            output = self.network(image)
            terms = self.objective(output, image, self._chance(-1 - number), self._target(batch))
            losses.append(float(terms["loss"]))
            constants.append(self.objective.constant(output, image))
        return float(np.mean(losses)), torch.stack(constants).mean(dim=0)

    def weights(self, constant: Tensor | None = None) -> dict[str, Tensor]:
        """Return the network's weights, without the constant part of its answer."""
        weights: dict[str, Tensor] = dict(self.network.state_dict())
        if constant is not None:
            weights["head.bias"] = weights["head.bias"] - constant.to(weights["head.bias"])
        return weights

    def model(self, card: Card) -> Model:
        """Return the network as it is now, without what places it on devices."""
        return Model(cast("UNet", self.network.module), card)

    def state(self) -> dict[str, Any]:
        """Return what `restore` needs."""
        return {"network": self.network.state_dict(), "optimiser": self.optimiser.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])

    def _tensor(self, values: NDArray[np.float32]) -> Tensor:
        return torch.from_numpy(values).to(self.fabric.device)

    def _target(self, batch: Batch) -> Target | None:
        """Return what is annotated, where the network runs."""
        if batch.labels is None or batch.centres is None:
            return None
        labels = torch.from_numpy(batch.labels.astype(np.int64)).to(self.fabric.device)
        return Target(labels, self._tensor(batch.centres))

    def _chance(self, step: int) -> torch.Generator:
        """Return the source of chance of a step, the same on every device."""
        words = np.random.SeedSequence((self.seed, step + VALIDATION_BATCHES + 1)).generate_state(2)
        return torch.Generator().manual_seed(int(words[0]) << 16 ^ int(words[1]))
