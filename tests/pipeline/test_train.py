"""Training: it learns, goes on where it was cut, and keeps aside what it should."""

import json
import os
import pickle
import signal
import threading

import numpy as np
import pytest
import safetensors.torch
import tifffile
import torch

from cellulus.data.normalise import Normalisation
from cellulus.errors import CellulusError, InputError, StorageError
from cellulus.experiment.sections import Data, Experiment, Network, Train, TrainImage
from cellulus.methods import ObjectCentric
from cellulus.pipeline import train as module
from cellulus.pipeline.learning import make_fabric
from cellulus.pipeline.material import open_parts, split
from cellulus.pipeline.model import load
from cellulus.pipeline.train import is_trained, train
from cellulus.runs import Run


def discs(shape, radius=5, pitch=14, seed=0):
    rng = np.random.default_rng(seed)
    grid, image = np.indices(shape), rng.normal(0, 0.05, shape)
    for corner in np.ndindex(*[max(1, n // pitch) for n in shape]):
        centre = np.multiply(corner, pitch) + pitch / 2 + rng.uniform(-2, 2, len(shape))
        away = grid - centre.reshape(-1, *[1] * len(shape))
        image += (away**2).sum(axis=0) < radius**2
    return np.clip(100 * image + 50, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Three flat images and two volumes."""
    folder = tmp_path_factory.mktemp("images")
    for seed in range(3):
        tifffile.imwrite(folder / f"flat_{seed}.tif", discs((64, 70), seed=seed))
    for seed in range(2):
        data = discs((20, 32, 34), seed=seed)
        tifffile.imwrite(folder / f"deep_{seed}.tif", data, imagej=True, metadata={"axes": "ZYX"})
    return folder


def experiment(images, pattern="flat_*.tif", *, seed=0, data=None, pairs=12, features=4, **changes):
    settings = {"steps": 20, "batch_size": 2, "crop": 32, "validate_every": 10, "precision": "fp32"}
    return Experiment(
        seed=seed,
        data=Data(
            object_diameter=10.0,
            train=(TrainImage(image=str(images / pattern)),),
            **(data or {}),
        ),
        method=ObjectCentric(pairs=pairs),
        network=Network(features=features, growth=2, head_features=features, object_voxels=10.0),
        train=Train(**(settings | changes)),
    )


def started(folder, made):
    return Run.start(folder, made, "")


def trained(folder, made, **options):
    run = started(folder, made)
    assert train(made, run, device="cpu", **options) == run.model
    return run


def weights(path):
    return safetensors.torch.load_file(path)


def log(run):
    lines = [json.loads(line) for line in run.log.read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "rate"} for line in lines]


def assert_same(one, other):
    for name in ("model.safetensors", "state/last.safetensors"):
        a, b = weights(one.folder / name), weights(other.folder / name)
        assert a.keys() == b.keys()
        assert all(torch.equal(a[key], b[key]) for key in a)
    assert log(one) == log(other)


class Interrupting:
    """Presses Ctrl-C at a step."""

    def __init__(self, at, times=1):
        self.at, self.times, self.step = at, times, 0

    def start(self, what, total):
        assert (what, total) == ("train", 20)

    def advance(self, amount=1, **values):
        self.step += amount
        if self.step == self.at:
            for _ in range(self.times):
                os.kill(os.getpid(), signal.SIGINT)

    def finish(self):
        pass


class Killing(Interrupting):
    """Ends it without a warning."""

    def advance(self, amount=1, **values):
        self.step += amount
        if self.step == self.at:
            raise OSError("power cut")


@pytest.mark.parametrize(("pattern", "ndim"), [("flat_*.tif", 2), ("deep_*.tif", 3)])
def test_a_training_leaves_a_model_that_can_be_used(tmp_path, images, pattern, ndim):
    made = experiment(images, pattern, steps=4, validate_every=2, crop=18)
    run = trained(tmp_path, made)
    model = load(run.model)
    assert (model.card.ndim, model.card.inputs, model.card.outputs) == (ndim, 1, ndim)
    assert model.card.normalisation is None
    facts = model.card.provenance
    assert facts["seed"] == 0
    assert facts["step"] in (2, 4)
    assert len(facts["images"]) == {2: 3, 3: 2}[ndim]
    found = json.loads(run.resolved.read_text())["data"]
    assert found.keys() == facts["images"].keys()
    assert is_trained(made, run)
    assert not [p for p in tmp_path.rglob("*") if p.name.startswith(".")]


def test_the_loss_falls(tmp_path, images):
    """On all displacements and plain crops: what is drawn is not taken for what is learnt."""
    plain = {"elastic": 0.0, "intensity": 0.0, "batch_size": 4, "learning_rate": 4e-3}
    made = experiment(images, steps=60, validate_every=20, pairs=100, features=12, **plain)
    lines = log(trained(tmp_path, made))
    for name in ("loss", "validation"):
        losses = [line[name] for line in lines if name in line]
        assert losses[-1] < losses[0] - 0.01
    losses = [line["loss"] for line in lines if "loss" in line]
    assert losses[-1] < losses[0] - 0.05


def test_the_log_has_losses_rates_and_validations(tmp_path, images):
    run = trained(tmp_path, experiment(images, steps=25))
    lines = [json.loads(line) for line in run.log.read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == [10, 20, 25]
    assert [line["step"] for line in lines if "validation" in line] == [10, 20, 25]
    assert all(line["rate"] > 0 for line in lines if "loss" in line)


@pytest.fixture(scope="module")
def uncut(tmp_path_factory, images):
    return trained(tmp_path_factory.mktemp("uncut"), experiment(images))


@pytest.mark.parametrize("at", [1, 7, 10, 11, 19, 20])
def test_an_interrupted_training_goes_on_as_if_it_were_not(tmp_path, images, uncut, at):
    made = experiment(images)
    run = started(tmp_path, made)
    with pytest.raises(KeyboardInterrupt):
        train(made, run, device="cpu", progress=Interrupting(at))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert is_trained(made, run) == (at == 20)
    train(made, run, device="cpu", resume=True)
    assert_same(run, uncut)


@pytest.mark.parametrize("at", [5, 13])
def test_a_killed_training_goes_on_from_its_last_validation(tmp_path, images, uncut, at):
    made = experiment(images)
    run = started(tmp_path, made)
    with pytest.raises(OSError, match="power cut"):
        train(made, run, device="cpu", progress=Killing(at))
    train(made, run, device="cpu", resume=True)
    assert_same(run, uncut)


def test_a_second_interrupt_does_not_wait(tmp_path, images):
    made = experiment(images)
    run = started(tmp_path, made)
    with pytest.raises(KeyboardInterrupt):
        train(made, run, device="cpu", progress=Interrupting(3, times=2))
    assert not run.state.exists()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_going_on_with_a_finished_training_changes_nothing(tmp_path, images):
    made = experiment(images, steps=10)
    run = trained(tmp_path, made)
    before = {p: p.stat().st_mtime_ns for p in (run.model, run.log, run.state / "last.pt")}
    train(made, run, device="cpu", resume=True)
    assert before == {p: p.stat().st_mtime_ns for p in before}


def test_without_resume_it_begins_anew(tmp_path, images, uncut):
    made = experiment(images)
    run = started(tmp_path, made)
    with pytest.raises(KeyboardInterrupt):
        train(made, run, device="cpu", progress=Interrupting(12))
    train(made, run, device="cpu")
    assert_same(run, uncut)


@pytest.mark.parametrize("workers", [0, 3])
def test_the_number_of_threads_changes_nothing(tmp_path, images, uncut, workers):
    assert_same(trained(tmp_path, experiment(images, workers=workers)), uncut)


def test_a_seed_decides_everything(tmp_path, images, uncut):
    torch.manual_seed(99)  # the caller's chance decides nothing
    before = torch.get_rng_state()
    again = trained(tmp_path / "again", experiment(images))
    assert torch.equal(torch.get_rng_state(), before)
    assert_same(again, uncut)
    other = trained(tmp_path / "other", experiment(images, seed=1))
    assert not torch.equal(weights(other.model)["head.weight"], weights(uncut.model)["head.weight"])


def test_it_works_in_a_thread_of_its_own(tmp_path, images):
    """Where no signal can be caught."""
    made, failed = experiment(images, steps=2), []

    def work():
        try:
            trained(tmp_path, made)
        except BaseException as error:  # noqa: BLE001
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert not failed


def test_without_improvement_it_stops_and_stays_stopped(tmp_path, images, monkeypatch):
    losses = iter([0.5, 0.4, 0.6, 0.45, 0.7, 0.8])
    zero = torch.zeros(2)
    monkeypatch.setattr(module.Learning, "validate", lambda *_: (next(losses), zero))
    made = experiment(images, steps=40, validate_every=2, patience=2)
    run = trained(tmp_path, made)
    assert [line["validation"] for line in log(run) if "validation" in line] == [
        0.5,
        0.4,
        0.6,
        0.45,
    ]
    assert load(run.model).card.provenance["step"] == 4
    assert load(run.state / "last.safetensors").card.provenance["step"] == 8
    assert is_trained(made, run)
    before = log(run)
    train(made, run, device="cpu", resume=True)
    assert log(run) == before


@pytest.mark.parametrize(
    ("losses", "told"),
    [([0.5, 0.4, 0.6, 0.6, 0.6], 4), ([0.5, 0.4, 0.3, 0.6, 0.6], 0), ([0.5, 0.4, 0.6, 0.6], 0)],
)
def test_training_for_nothing_is_told(tmp_path, images, monkeypatch, caplog, losses, told):
    given, zero = iter(losses), torch.zeros(2)
    monkeypatch.setattr(module.Learning, "validate", lambda *_: (next(given), zero))
    trained(tmp_path, experiment(images, steps=2 * len(losses), validate_every=2))
    said = [record.getMessage() for record in caplog.records if "none better" in record.message]
    assert said == [f"the best model was found at step {told}, and none better in the 6 steps "
                    "after it"] * bool(told)  # fmt: skip


def test_a_loss_that_is_not_finite_is_an_error_and_no_model(tmp_path, images, monkeypatch):
    monkeypatch.setattr(module.Learning, "validate", lambda *_: (float("nan"), torch.zeros(2)))
    made = experiment(images, steps=4, validate_every=2)
    run = started(tmp_path, made)
    with pytest.raises(InputError) as caught:
        train(made, run, device="cpu")
    assert caught.value.where == "train.learning_rate"
    assert not run.model.exists()


def test_a_full_disk_leaves_the_last_state(tmp_path, images, monkeypatch, uncut):
    made = experiment(images)
    run = started(tmp_path, made)
    save, calls = module.save_state, []

    def full(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise StorageError("state", expected="space", found="none")
        save(*arguments)

    monkeypatch.setattr(module, "save_state", full)
    with pytest.raises(StorageError):
        train(made, run, device="cpu")
    train(made, run, device="cpu", resume=True)
    assert_same(run, uncut)


class Harmful:
    def __init__(self, sentinel):
        self.sentinel = str(sentinel)

    def __reduce__(self):
        return os.mkdir, (self.sentinel,)


@pytest.mark.parametrize(
    "content",
    [
        lambda s, f: torch.save({"network": Harmful(s)}, f),
        lambda s, f: f.write_bytes(pickle.dumps(Harmful(s))),
        lambda s, f: torch.save({"network": {}, "optimiser": {}}, f),
        lambda s, f: torch.save([1, 2], f),
        lambda s, f: f.write_bytes(b""),
        lambda s, f: f.write_bytes(f.read_bytes()[:5000]),
    ],
    ids=["harmful", "pickle", "foreign", "list", "empty", "truncated"],
)
def test_a_damaged_or_harmful_state_is_refused(tmp_path, images, content):
    made = experiment(images, steps=4, validate_every=2)
    run = started(tmp_path / "run", made)
    with pytest.raises(KeyboardInterrupt):
        train(made, run, device="cpu", progress=Pressing(3))
    run.model.write_bytes(b"")  # whatever it is: the state is looked at
    content(tmp_path / "harm", run.state / "last.pt")
    for go_on in (
        lambda: train(made, run, device="cpu", resume=True),
        lambda: is_trained(made, run),
    ):
        with pytest.raises(StorageError) as caught:
            go_on()
        assert caught.value.where == str(run.state / "last.pt")
        assert "--overwrite" in caught.value.remedy
    assert not (tmp_path / "harm").exists()


class Pressing(Interrupting):
    def start(self, what, total):
        pass


def test_one_small_image_is_enough(tmp_path, images, caplog):
    tifffile.imwrite(tmp_path / "tiny.tif", discs((9, 13), radius=3))
    run = trained(tmp_path / "run", experiment(tmp_path, "tiny.tif", steps=2))
    assert load(run.model)


def test_a_data_set_shares_its_normalisation(tmp_path, images):
    run = trained(tmp_path, experiment(images, steps=2, data={"normalise": "dataset"}))
    card = load(run.model).card
    assert card.normalisation == Normalisation(card.low, card.high)
    assert {tuple(i["low"]) for i in card.provenance["images"].values()} == {card.low}


def test_the_constant_is_taken_off_the_stored_weights(tmp_path, images):
    """Over the bright parts of the validation crops, stored offsets average to nothing."""
    made = experiment(images, steps=10)
    run = trained(tmp_path, made)
    model = load(run.model)
    _, aside = split(made, open_parts(made))
    objective = made.method.objective(2, 10.0)
    found = []
    with torch.no_grad():
        for number in range(module.VALIDATION_BATCHES):
            image = torch.from_numpy(aside.batch(number, range(2)).image)
            found.append(objective.constant(model.network(image), image))
    assert torch.stack(found).mean(dim=0).abs().max() < 1e-4


def test_an_unusable_image_stops_it_before_it_begins(tmp_path, images):
    tifffile.imwrite(tmp_path / "nan.tif", np.full((40, 40), np.nan, np.float32))
    made = experiment(tmp_path, "nan.tif")
    run = started(tmp_path / "run", made)
    with pytest.raises(CellulusError, match="nan"):
        train(made, run, device="cpu")
    assert not run.model.exists()
    assert not run.state.exists()


@pytest.mark.parametrize("devices", [3, 4])
def test_devices_that_cannot_share_a_batch_evenly_are_refused(images, devices):
    with pytest.raises(InputError, match=r"train\.devices"):
        make_fabric(experiment(images, devices=devices, batch_size=2), "cpu")


def test_bf16_learns_too(tmp_path, images):
    run = trained(tmp_path, experiment(images, steps=10, precision="bf16"))
    assert all(np.isfinite(line.get("loss", 0)) for line in log(run))
    assert {w.dtype for w in weights(run.model).values()} == {torch.float32}


@pytest.mark.slow
def test_two_devices_learn_what_one_does(tmp_path, images):
    """With even weights: otherwise each device weighs its own share of the batch."""
    even = ObjectCentric(pairs=12, background=1.0)
    runs = [
        trained(
            tmp_path / str(devices),
            experiment(images, devices=devices).model_copy(update={"method": even}),
        )
        for devices in (1, 2)
    ]
    one, two = (weights(run.model) for run in runs)
    for name in one:
        assert torch.allclose(one[name], two[name], atol=1e-4), name
    for a, b in zip(*map(log, runs), strict=True):
        assert a == pytest.approx(b, rel=1e-3)
