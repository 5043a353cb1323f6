"""Model files: whole, damaged, foreign, and crafted to run code."""

import json
import os
import pickle
import zipfile

import pytest
import safetensors.torch
import torch

from cellulus.data.normalise import Normalisation
from cellulus.errors import MissingError, ModelError
from cellulus.experiment.sections import Experiment, Network
from cellulus.methods import ObjectCentric
from cellulus.pipeline.model import Card, check_fit, load, new_network, save


def card(**changes):
    facts = {
        "method": ObjectCentric(passes=6),
        "network": Network(features=3, head_features=4, object_voxels=12.5),
        "ndim": 2,
        "inputs": 1,
        "outputs": 2,
        "percentiles": (0.1, 99.9),
        "provenance": {"seed": 3, "images": {"a": {"zoom": [0.3, 1 / 3]}}},
    }
    return Card(**(facts | changes))


def saved(path, **changes):
    torch.manual_seed(0)
    made = card(**changes)
    network = new_network(made)
    save(path, network.state_dict(), made)
    return network, made


@pytest.mark.parametrize("ndim", [2, 3])
def test_what_is_saved_is_loaded(tmp_path, ndim):
    path = tmp_path / "deep" / "model.safetensors"
    network, made = saved(path, ndim=ndim, outputs=ndim, low=(1.25,), high=(1 / 3 + 7,))
    model = load(path)
    assert model.card == made
    assert model.card.normalisation == Normalisation((1.25,), (1 / 3 + 7,))
    assert not model.network.training
    image = torch.rand(1, 1, *(20,) * ndim)
    with torch.no_grad():
        assert torch.equal(model.network(image), network(image))
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_images_with_percentiles_of_their_own_share_none(tmp_path):
    saved(tmp_path / "m.safetensors")
    assert load(tmp_path / "m.safetensors").card.normalisation is None


def test_other_programs_can_read_the_weights(tmp_path):
    network, _ = saved(tmp_path / "m.safetensors")
    weights = safetensors.torch.load_file(tmp_path / "m.safetensors")
    assert weights.keys() == network.state_dict().keys()


def test_a_missing_model_is_missed(tmp_path):
    for path in (tmp_path / "none.safetensors", tmp_path):
        with pytest.raises(MissingError, match="run train first"):
            load(path)


def refused(path):
    with pytest.raises(ModelError) as caught:
        load(path)
    error = caught.value
    assert error.where == str(path)
    assert error.expected == "a model that train wrote"
    assert error.remedy
    return error.found


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_refused(tmp_path, share):
    path = tmp_path / "model.safetensors"
    saved(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    assert "damaged" in refused(path)


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_text("this is no model\n" * 40)
    assert "damaged" in refused(path)


def test_a_foreign_safetensors_file_is_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    safetensors.torch.save_file({"weight": torch.zeros(3)}, path)
    assert "another program" in refused(path)


def rewritten(path, change):
    """The same file with another description."""
    with safetensors.safe_open(path, "pt") as file:
        text = json.loads(file.metadata()["cellulus"])
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    safetensors.torch.save_file(weights, path, {"cellulus": change(text)})


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda t: json.dumps(t | {"method": t["method"] | {"name": "other"}}), "method"),
        (lambda t: json.dumps(t | {"format": 2}), "format"),
        (lambda t: json.dumps(t | {"ndim": 4}), "ndim"),
        (lambda t: json.dumps(t | {"surprise": 1}), "surprise"),
        (lambda t: json.dumps({k: v for k, v in t.items() if k != "network"}), "network"),
        (lambda t: json.dumps([]), "description"),
        (lambda t: "{", ""),
        (lambda t: json.dumps(t | {"inputs": 2}), "weights"),
        (lambda t: json.dumps(t | {"ndim": 3}), "weights"),
        (lambda t: json.dumps(t | {"network": t["network"] | {"depth": 2}}), "weights"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(tmp_path, change, found):
    path = tmp_path / "model.safetensors"
    saved(path)
    rewritten(path, change)
    assert found in refused(path)


class Harmful:
    def __init__(self, sentinel):
        self.sentinel = str(sentinel)

    def __reduce__(self):
        return os.mkdir, (self.sentinel,)


@pytest.mark.parametrize("kind", ["pickle", "torch", "zip"])
def test_a_file_crafted_to_run_code_runs_none(tmp_path, kind):
    path, sentinel = tmp_path / "model.safetensors", tmp_path / "harm"
    if kind == "pickle":
        path.write_bytes(pickle.dumps(Harmful(sentinel)))
    elif kind == "torch":
        torch.save({"state": Harmful(sentinel)}, path)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", pickle.dumps(Harmful(sentinel)))
    assert "damaged" in refused(path)
    assert not sentinel.exists()
    pickle.loads(pickle.dumps(Harmful(sentinel)))  # the trap works
    assert sentinel.exists()


def test_a_description_that_asks_for_a_huge_network_is_refused(tmp_path):
    """Its weights are not in the file, so no memory should be taken for them."""
    path = tmp_path / "model.safetensors"
    saved(path)
    rewritten(path, lambda t: json.dumps(t | {"network": t["network"] | {"features": 10**7}}))
    refused(path)


def test_a_fitting_model_passes(tmp_path):
    check_fit(tmp_path, card(), Experiment(), 2, 1)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"ndim": 3}, "number of spatial axes is 2"),
        ({"inputs": 2}, "number of channels is 1"),
    ],
)
def test_a_model_for_other_images_is_refused(tmp_path, changes, what):
    with pytest.raises(ModelError) as caught:
        check_fit(tmp_path / "m", card(**changes), Experiment(), 2, 1)
    assert caught.value.where == str(tmp_path / "m")
    assert what in caught.value.expected
    assert str(next(iter(changes.values()))) in caught.value.found


def test_a_model_of_another_method_is_refused(tmp_path):
    other = card().method.model_copy(update={"name": "other"})
    with pytest.raises(ModelError, match="method is object_centric"):
        check_fit(tmp_path, card().model_copy(update={"method": other}), Experiment(), 2, 1)


def test_a_loaded_network_lies_in_memory_as_a_new_one(tmp_path):
    saved(tmp_path / "m.safetensors")
    weight = load(tmp_path / "m.safetensors").network.down[1][0].weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert weight.requires_grad


def test_loading_leaves_the_callers_chance_alone(tmp_path):
    saved(tmp_path / "m.safetensors")
    before = torch.get_rng_state()
    load(tmp_path / "m.safetensors")
    assert torch.equal(torch.get_rng_state(), before)
