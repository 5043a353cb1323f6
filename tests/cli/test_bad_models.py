"""Model files that are damaged, made for something else, or crafted to do harm."""

import json
import pickle
from pathlib import Path

import pytest
import safetensors
import safetensors.torch
import torch

from cellulus.pipeline import model as models


def test_no_model(place, refused):
    refused(["predict", "x.toml"], "model.safetensors", "train")


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.99])
def test_a_model_that_is_cut_short(share, model, refused):
    content = model.read_bytes()
    model.write_bytes(content[: int(share * len(content))])
    refused(["predict", "x.toml"], "model.safetensors")


def rewritten(model, change):
    with safetensors.safe_open(model, "pt") as file:
        card = json.loads(file.metadata()["cellulus"])
        weights = {name: file.get_tensor(name) for name in list(file.keys())}
    change(card)
    safetensors.torch.save_file(weights, model, {"cellulus": json.dumps(card)})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda card: card["method"].update(name="magic"), "method.name"),
        (lambda card: card.update(ndim=3), ""),
        (lambda card: card["network"].update(features=9), ""),
        (lambda card: card.pop("network"), "network"),
        (lambda card: card.update(format=2), "format"),
    ],
)
def test_a_model_whose_description_is_another(change, said, model, refused):
    rewritten(model, change)
    refused(["predict", "x.toml"], "model.safetensors", said)


def test_weights_of_another_program(model, refused):
    safetensors.torch.save_file({"w": torch.zeros(3)}, model)
    refused(["predict", "x.toml"], "model.safetensors")


def stored(model, **changes):
    """Replace the model by an untrained one that is whole, but made for other images."""
    card = models.load(model).card.model_copy(update=changes)
    models.save(model, models.new_network(card).state_dict(), card)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ndim": 3, "outputs": 3}, "number of spatial axes is 2"),
        ({"inputs": 2}, "number of channels is 1"),
    ],
)
def test_a_model_made_for_other_images(changes, said, model, refused):
    stored(model, **changes)
    refused(["predict", "x.toml"], "model.safetensors", said)


class Crafted:
    """Runs code where it is unpickled."""

    def __reduce__(self):
        return Path.touch, (Path("ran"),)


def test_a_model_crafted_to_run_code(model, refused):
    for save_as in (pickle.dump, torch.save):
        with model.open("wb") as file:
            save_as(Crafted(), file)
        refused(["predict", "x.toml"], "model.safetensors")
        refused(["predict", "b.png", "-m", "runs/x/model.safetensors"])
    assert not Path("ran").exists()


def test_a_state_crafted_to_run_code(model, refused):
    torch.save(Crafted(), "runs/x/state/last.pt")
    refused(["train", "x.toml", "--resume"], "last.pt")
    assert not Path("ran").exists()
