import json

import pytest
from pydantic import ValidationError

from cellulus.experiment.sections import Data, Experiment
from cellulus.space import Length


def test_an_experiment_survives_json():
    experiment = Experiment(
        seed=4, data=Data(object_diameter="9600 nm", channels=("a", 1), voxel_size=(2.0, 1, 1))
    )
    text = json.dumps(experiment.model_dump(mode="json"))
    assert Experiment.model_validate_json(text) == experiment


@pytest.mark.parametrize(
    ("given", "length"),
    [("9.6 um", Length(9.6, "um")), (20, Length(20.0, "voxel")), ("20 px", Length(20.0, "voxel"))],
)
def test_a_diameter_is_a_length(given, length):
    assert Data(object_diameter=given).object_diameter == length
    assert Data(object_diameter=length).object_diameter == length


def test_auto_stays_auto():
    assert Data().object_diameter == "auto"


@pytest.mark.parametrize(
    "wrong",
    [
        {"object_diameter": "auto um"},
        {"percentiles": (5, 5)},
        {"percentiles": (-1, 50)},
        {"voxel_size": (1, 1, 1, 1)},
        {"voxel_size": (0, 1)},
        {"unknown": 1},
    ],
)
def test_what_is_refused(wrong):
    with pytest.raises(ValidationError):
        Data(**wrong)


def test_settings_do_not_change():
    with pytest.raises(ValidationError):
        Experiment().seed = 5
