"""What every method must do: whatever joins the union in `cellulus.methods` is held to this."""

import math
import subprocess
import sys
import typing
from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy import ndimage

from cellulus import methods
from cellulus.errors import InputError
from cellulus.experiment.sections import Experiment, Network
from cellulus.methods.base import MethodSettings, Target
from cellulus.methods.decoder import Observation
from cellulus.nn import shapes
from cellulus.nn.unet import UNet
from cellulus.pipeline.decoding import open_ended
from cellulus.space import blocks

OBJECT_VOXELS = 10.0
DEPTH = 1
DIAMETER = 20.0
"""Of the objects in drawn scenes [canonical voxel]."""


def members(union):
    """The settings classes of a union, tagged or not, or of a single class."""
    if isinstance(union, type):
        return [union]
    return [found for part in typing.get_args(union) for found in members(part)
            if isinstance(part, type) or typing.get_args(part)]  # fmt: skip


METHODS = members(methods.AnyMethod)
EACH = pytest.mark.parametrize("method", METHODS, ids=lambda m: m.model_fields["name"].default)
NDIM = pytest.mark.parametrize("ndim", [2, 3])


def chance(seed=0):
    return torch.Generator().manual_seed(seed)


def network(method, ndim):
    torch.manual_seed(0)
    made = UNet(
        ndim, 1, method.outputs(ndim), features=4, growth=1, depth=DEPTH, head_features=4
    ).eval()
    with torch.no_grad():
        made.head.weight.mul_(100)
    return made


def picture(*shape):
    return torch.from_numpy(np.random.default_rng(0).random(shape, np.float32))


def seen(batch, *space):
    """What a network saw to answer for `space`: a little more on every side."""
    return picture(batch, 1, *(n + 4 for n in space))


def annotated(method, image):
    """Two boxes, the second cut by the edge, or a point in each; None if nothing is needed."""
    if method.needs == "nothing":
        return None
    batch, _, *space = image.shape
    labels = torch.zeros(batch, *space, dtype=torch.int64)
    halves = [(slice(2, n // 2), slice(n // 2, n)) for n in space]
    labels[(slice(None), *(low for low, _ in halves))] = 1
    labels[(slice(None), *(high for _, high in halves))] = 2
    labels[..., -1] = -1
    centres = torch.tensor([[(n // 2 + 2) / 2 for n in space], [float(n - 1) for n in space]])
    labels = labels.clamp_max(1) if method.needs == "points" else labels
    return Target(labels, centres.expand(batch, -1, -1))


def test_there_are_methods_and_their_names_differ():
    names = [method.model_fields["name"].default for method in METHODS]
    assert names
    assert len(set(names)) == len(names)
    assert all(issubclass(method, MethodSettings) for method in METHODS)


def test_listing_the_methods_imports_no_torch():
    code = "import sys, cellulus.methods; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@EACH
def test_it_says_what_it_needs_and_where_it_is_from(method):
    assert method.needs in ("nothing", "points", "masks")
    assert method.source
    assert all(field.description for field in method.model_fields.values())


@EACH
def test_its_settings_survive_json(method):
    experiment = Experiment(method=method(), network=Network(object_voxels=OBJECT_VOXELS))
    found = Experiment.model_validate_json(experiment.model_dump_json())
    assert found == experiment
    assert type(found.method) is method


@EACH
def test_unknown_settings_are_refused(method):
    with pytest.raises(ValidationError):
        method(surprise=1)


@EACH
@NDIM
def test_what_it_predicts_has_names(method, ndim):
    names = method().channels(ndim)
    assert len(set(names)) == len(names) > 0
    assert method().outputs(ndim) > 0


@EACH
@NDIM
def test_its_loss_is_finite_repeatable_and_falls_on_a_fit(method, ndim):
    settings = method()
    objective = settings.objective(ndim, OBJECT_VOXELS)
    start = picture(2, settings.outputs(ndim), *(12,) * ndim) - 0.5
    output, image = start.clone().requires_grad_(), seen(2, *(12,) * ndim)
    target = annotated(method, image)
    terms = [objective(output, image, chance(), target) for _ in range(2)]
    assert all(value.ndim == 0 and torch.isfinite(value) for value in terms[0].values())
    assert terms[0]["loss"].item() == terms[1]["loss"].item()
    optimiser = torch.optim.Adam([output], lr=0.3)
    for step in range(60):
        optimiser.zero_grad()
        objective(output, image, chance(step), target)["loss"].backward()
        optimiser.step()
    before, after = (
        terms[0]["loss"].item(),
        objective(output, image, chance(), target)["loss"].item(),
    )
    assert after < before - 0.3 * abs(before)


@EACH
@NDIM
@pytest.mark.parametrize("level", [-1.0, 0.0, 2.0])
def test_an_even_image_has_a_loss_and_a_finite_gradient(method, ndim, level):
    """As crops of nothing but background are."""
    settings = method()
    output = (picture(1, settings.outputs(ndim), *(12,) * ndim) - 0.5).requires_grad_()
    image = torch.full((1, 1, *(16,) * ndim), level)
    target = annotated(method, image)
    loss = settings.objective(ndim, OBJECT_VOXELS)(output, image, chance(), target)["loss"]
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(output.grad).all()


PLANE = {"spatial_embedding": {"variance_weight": 0.0}}
"""Settings without terms that are means over the axes, of which a volume has one more."""


@EACH
def test_a_volume_of_one_plane_loses_as_its_image(method):
    """The components along z are zero here."""
    settings = method(**PLANE.get(method.model_fields["name"].default, {}))
    is_along_z = [name.endswith("_z") for name in settings.channels(3)[: settings.outputs(3)]]
    flat = 3 * picture(2, settings.outputs(2), 15, 14)
    deep = torch.zeros(2, settings.outputs(3), 1, 15, 14)
    deep[:, ~torch.tensor(is_along_z), 0] = flat
    image = seen(2, 15, 14)
    target = annotated(method, image)
    raised = target and Target(
        target.labels[:, None], torch.nn.functional.pad(target.centres, (1, 0), value=0.5)
    )
    losses = [
        settings.objective(ndim, OBJECT_VOXELS)(output, saw, chance(), drawn)["loss"].item()
        for ndim, output, saw, drawn in (
            (2, flat, image, target),
            (3, deep, image[:, :, None], raised),
        )
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


@EACH
@NDIM
def test_what_is_taken_off_the_answer_is_nothing_to_the_loss(method, ndim):
    settings = method()
    objective = settings.objective(ndim, OBJECT_VOXELS)
    output = 3 * picture(2, settings.outputs(ndim), *(12,) * ndim) + 1
    image = seen(2, *(12,) * ndim)
    constant = objective.constant(output, image)
    assert constant.shape == (settings.outputs(ndim),)
    without = output - constant.view(-1, *[1] * ndim)
    target = annotated(method, image)
    losses = [objective(o, image, chance(), target)["loss"].item() for o in (output, without)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-3)


@EACH
@NDIM
def test_its_inference_answers_for_every_voxel_inside_whatever_the_batch(method, ndim):
    settings, extent = method(), shapes.legal_size(20, DEPTH)
    image, origin = picture(1, *(extent,) * ndim), (-4, 6, 10)[:ndim]
    made = network(settings, ndim)
    with torch.inference_mode():
        found = [settings.inference(OBJECT_VOXELS, 3, size)(made, image, origin) for size in (1, 5)]
    inner = shapes.output_size(extent, DEPTH)
    assert found[0].shape == (len(settings.channels(ndim)), *(inner,) * ndim)
    assert found[0].dtype == torch.float32
    assert torch.isfinite(found[0]).all()
    assert torch.allclose(*found, rtol=1e-4, atol=1e-4)


def others(field):
    """Values of a setting that are not its default, where some are valid."""
    parts = typing.get_args(field.annotation)
    named = [name for part in parts for name in (typing.get_args(part) or (part,))]
    number = field.default if isinstance(field.default, int | float) else 0.3
    tried = [*(name for name in named if isinstance(name, str)), 2 * number, number / 2, 0.3]
    return [value for value in tried if value != field.default]


@EACH
def test_a_prediction_depends_on_the_settings_that_it_says(method):
    extent = shapes.legal_size(20, DEPTH)
    image = picture(1, extent, extent)

    def answer(settings):
        with torch.inference_mode():
            return settings.inference(OBJECT_VOXELS, 3, 4)(network(settings, 2), image, (0, 0))

    plain = answer(method())
    depends = set()
    for name, field in method.model_fields.items():
        if name == "name":
            continue
        tried = 0
        for value in others(field):
            try:
                settings = method(**{name: value})
            except ValidationError:
                continue
            tried += 1
            if not torch.equal(answer(settings), plain):
                depends.add(name)
        assert tried, f"no other value of {name} was found"
    assert depends == set(method.asked_with)


@EACH
@NDIM
@pytest.mark.parametrize("tta", [False, True])
def test_its_network_is_shown_as_many_images_as_it_says(method, ndim, tta):
    """The memory of predicting is planned by it."""
    settings, sizes = method(), []
    image, made = picture(1, *(shapes.legal_size(20, DEPTH),) * ndim), network(settings, ndim)

    def counting(images):
        sizes.append(len(images))
        return made(images)

    if tta and not settings.has_tta:
        with pytest.raises(InputError, match=r"predict\.tta"):
            settings.inference(OBJECT_VOXELS, 0, 3, tta=True)
        return
    with torch.inference_mode():
        settings.inference(OBJECT_VOXELS, 0, 3, tta=tta)(counting, image, (0,) * ndim)
    assert sum(sizes) == settings.views(ndim, tta=tta)
    assert max(sizes) <= 3


@EACH
@NDIM
def test_its_inference_does_not_depend_on_how_the_image_was_cut(method, ndim):
    settings, halo, step = method(), shapes.halo(DEPTH), shapes.stride(DEPTH)
    image = picture(1, *(2 * halo + 8,) * ndim)
    made, ask = network(settings, ndim), settings.inference(OBJECT_VOXELS, 0, 4)
    with torch.inference_mode():
        whole = ask(made, image, (0,) * ndim)
        part = ask(made, image[(slice(None), *[slice(step, 2 * halo + 6)] * ndim)], (step,) * ndim)
    inside = whole[(slice(None), *[slice(step, 6)] * ndim)]
    assert torch.allclose(part, inside, rtol=1e-4, atol=1e-4)


DRAWN = {"object_centric": {}, "spatial_embedding": {}, "point_marker": {}}
"""Methods whose predictions can be drawn, and the settings of their decoders to be local with."""
SCENES = [((210, 260), (1.0, 1.0), (80, 90)), ((12, 40, 280), (3.0, 2.0, 1.0), (12, 40, 70))]


def test_every_method_is_held_to_be_local():
    assert set(DRAWN) == {method.model_fields["name"].default for method in METHODS}


def said(method, scene):
    """Return the scene with what a good network of the method would say of it, and its points."""
    if method.needs == "nothing":
        return scene
    offsets = scene.prediction[:-1]
    if method.needs == "points":
        numbers = range(1, int(scene.truth.max()) + 1)
        points = np.array(ndimage.center_of_mass(scene.truth, scene.truth, numbers))
        presence = np.where(scene.truth > 0, np.float32(0.9), np.float32(0.1))
        return replace(scene, prediction=np.stack([*offsets, presence]), points=points)
    far = np.sqrt((offsets**2).sum(axis=0)) / DIAMETER
    margins = np.full_like(offsets, 0.4 * DIAMETER)
    seediness = np.where(scene.truth > 0, np.exp2(-((far / 0.8) ** 2)), 0.01)
    prediction = np.concatenate([offsets, margins, seediness[None]]).astype(np.float32)
    return replace(scene, prediction=prediction)


def decoded(method, scene, core):
    """The decoder of drawn predictions, after it has learnt from blocks what it asks for."""
    made = method(**DRAWN[method.model_fields["name"].default]).decoder(scene.truth.ndim, 20.0)
    shape = scene.truth.shape
    for halo in made.surveys:
        around = tuple(math.ceil(halo / s) + 1 if halo else 0 for s in scene.spacing)
        made.learn(
            [
                made.survey(scene.observe(block.outer), open_ended(block.core, shape))
                for block in blocks(shape, core, around)
            ]
        )
    return made


@EACH
@pytest.mark.parametrize(("shape", "spacing", "core"), SCENES)
def test_its_decoder_is_local(draw, method, shape, spacing, core):
    """In the core of a region with the halo around it: the same objects, under the same anchors."""
    scene = said(method, draw(shape, spacing))
    made = decoded(method, scene, core)
    whole = made(scene.observe())
    assert np.array_equal(whole.labels, decoded(method, scene, shape)(scene.observe()).labels)
    assert len(whole.anchors) > 10
    assert math.isfinite(made.halo)
    nowhere = np.full((1, len(shape)), -1000)
    expected = np.vstack([nowhere, whole.anchors])[whole.labels]
    halo = tuple(math.ceil(made.halo / s) + 1 for s in spacing)
    for block in blocks(shape, core, halo):
        found = made(scene.observe(block.outer))
        names = np.vstack([nowhere, found.anchors])[found.labels[block.inner]]
        assert np.array_equal(names, expected[block.core])


@EACH
@pytest.mark.parametrize(("shape", "spacing", "core"), SCENES)
def test_its_objects_have_anchors_that_tell_them_apart(draw, method, shape, spacing, core):
    scene = said(method, draw(shape, spacing))
    region = tuple(slice(n // 3, n) for n in shape)
    found = decoded(method, scene, core)(scene.observe(region))
    assert found.labels.shape == scene.truth[region].shape
    assert found.labels.dtype == np.uint32
    assert found.anchors.dtype == np.int64
    assert found.anchors.shape == (len(found.anchors), len(shape))
    assert np.array_equal(np.unique(found.anchors, axis=0), found.anchors), "unique, ascending"
    assert 0 < found.labels.max() <= len(found.anchors)


@EACH
@NDIM
def test_its_decoder_finds_nothing_in_nothing(method, ndim):
    settings, shape = method(), (24,) * ndim
    nothing = Observation(
        np.zeros((len(settings.channels(ndim)), *shape), np.float32),
        np.zeros((1, *shape), np.float32), (1.0,) * ndim, (0,) * ndim,
        np.full((1, ndim), 11.0) if method.needs == "points" else None,
    )  # fmt: skip
    made = settings.decoder(ndim, OBJECT_VOXELS)
    assert not made(nothing).labels.any()
