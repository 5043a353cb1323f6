"""The run folder: where everything of one experiment lies, and which settings made it.

``experiment.toml`` is what was asked for, ``resolved.json`` what that came to: every default,
the versions, the seed, the fingerprints of the data. Knows where results lie, and nothing of
what is in them.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from cellulus.errors import ExistsError, InputError, MissingError, StorageError
from cellulus.experiment.sections import Experiment
from cellulus.files import write_json, write_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

PACKAGES = ("cellulus", "torch", "numpy", "zarr", "scipy", "scikit-image", "scikit-learn")
"""What the results may depend on."""
FREE = frozenset({"memory", "slurm"})
"""Settings, and sections of them, that no result depends on; what tiles and blocks they led to is
noted with results."""


@dataclass(frozen=True)
class Run:
    """The folder of one experiment; making a `Run` touches no disk.

    Attributes
    ----------
    folder
        ``runs/<name>`` by convention.
    """

    folder: Path

    @property
    def experiment(self) -> Path:
        """The experiment as given."""
        return self.folder / "experiment.toml"

    @property
    def resolved(self) -> Path:
        """Every setting, the versions, the seed and the data's fingerprints."""
        return self.folder / "resolved.json"

    @property
    def model(self) -> Path:
        """The trained network."""
        return self.folder / "model.safetensors"

    @property
    def state(self) -> Path:
        """Folder of what training needs to go on."""
        return self.folder / "state"

    @property
    def log(self) -> Path:
        """One line of JSON per logged step."""
        return self.folder / "log.jsonl"

    @property
    def predictions(self) -> Path:
        """Folder of what the network said, one OME-Zarr per image."""
        return self.folder / "predictions"

    @property
    def segments(self) -> Path:
        """Folder of labels before post-processing."""
        return self.folder / "segments"

    @property
    def labels(self) -> Path:
        """Folder of the final labels."""
        return self.folder / "labels"

    @property
    def scores(self) -> Path:
        """Scores against the truth."""
        return self.folder / "scores.json"

    @property
    def report(self) -> Path:
        """The page to look at."""
        return self.folder / "report.html"

    @classmethod
    def start(
        cls,
        folder: Path,
        experiment: Experiment,
        text: str,
        *,
        resume: bool = False,
        overwrite: bool = False,
        results: Sequence[str] = (),
    ) -> Run:
        """Open a run folder for a step, and record the experiment in it.

        Parameters
        ----------
        folder
            Made if it is not there.
        experiment
            Checked, with every default.
        text
            The experiment as given, TOML.
        resume, overwrite
            Whether results that are there are gone on with, or may be replaced.
        results
            The properties that the step writes (``"model"``) and that must not be there yet.

        Returns
        -------
        run
            Results that are there still lie there: whoever replaces them does so when done.

        Raises
        ------
        InputError
            If a resumed run was started with other settings; lists what differs.
        ExistsError
            If results, or a record of other settings, are in the way.
        StorageError
            If the folder cannot be written to.
        """
        run = cls(Path(folder))
        changed = run._changes(experiment)
        if changed and resume:
            raise InputError(
                run.resolved,
                expected="the settings that the run was started with",
                found=f"other ones:\n{_listed(changed)}\n",
                remedy="undo the changes, or start anew with --overwrite or another --output",
            )
        if not (resume or overwrite):
            run._refuse(changed, results)
        if changed or not run.resolved.exists():
            write_text(run.experiment, text)
            write_json(run.resolved, _record(experiment))
        return run

    def record_data(self, fingerprints: Mapping[str, str]) -> None:
        """Note what the data were: a fingerprint per image, by name."""
        record = self._record()
        known = record.get("data", {})
        write_json(self.resolved, record | {"data": known | dict(fingerprints)})

    def recorded(self) -> Experiment:
        """Return the experiment as it was recorded, with every default of that time.

        Raises
        ------
        MissingError
            If the folder is no run folder.
        InputError
            If the record is damaged, or of a version with other settings.
        """
        try:
            return Experiment.model_validate_json(json.dumps(self._record().get("experiment")))
        except ValidationError as error:
            fault = error.errors()[0]
            raise InputError(
                self.resolved,
                expected="settings that this version knows",
                found=f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}",
                remedy=f"check {self.experiment} and start anew from it",
            ) from error

    @classmethod
    def around(cls, path: Path) -> Run | None:
        """Return the run that a path is, or lies in as a result; None outside of any."""
        path = Path(path).absolute()
        inner = [path, *(path.parents[:2])]
        return next((cls(folder) for folder in inner if cls(folder).resolved.is_file()), None)

    def _refuse(self, changed: Mapping[str, tuple[object, object]], results: Sequence[str]) -> None:
        if changed and self._has_results():
            raise ExistsError(
                self.folder,
                expected="an empty run folder, or one with the same settings",
                found=f"results of other settings:\n{_listed(changed)}\n",
                remedy="--overwrite replaces them, --output NAME keeps both",
            )
        there = [getattr(self, name) for name in results if getattr(self, name).exists()]
        if there:
            raise ExistsError(
                there[0],
                expected="nothing there yet",
                found="an earlier result",
                remedy="--resume goes on with it, --overwrite replaces it",
            )

    def _has_results(self) -> bool:
        places = [self.model, self.state, self.predictions, self.segments, self.labels]
        return any(place.exists() for place in places)

    def _record(self) -> dict[str, Any]:
        try:
            record = json.loads(self.resolved.read_bytes())
        except FileNotFoundError as error:
            raise MissingError(
                self.folder, expected="a run folder", found="no resolved.json in it"
            ) from error
        except OSError as error:
            raise StorageError(
                self.resolved, expected="a readable file", found=error.strerror or str(error)
            ) from error
        except ValueError as error:
            raise InputError(
                self.resolved, expected="the record of a run", found="damaged JSON"
            ) from error
        if not isinstance(record, dict):
            raise InputError(self.resolved, expected="the record of a run", found="other JSON")
        return record

    def _changes(self, experiment: Experiment) -> dict[str, tuple[object, object]]:
        """Return the settings that differ from the record: ``{key: (recorded, now)}``."""
        if not self.resolved.exists():
            return {}
        before = dict(_flat(self._record().get("experiment")))
        now = dict(_flat(experiment.model_dump(mode="json")))
        keys = [k for k in [*now, *before] if k.partition(".")[0] not in FREE]
        return {k: (before.get(k), now.get(k)) for k in keys if before.get(k) != now.get(k)}


def _record(experiment: Experiment) -> dict[str, Any]:
    versions = {"python": platform.python_version(), "platform": platform.platform()}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return {
        "experiment": experiment.model_dump(mode="json"),
        "seed": experiment.seed,
        "versions": versions,
        "data": {},
    }


def _flat(value: object, key: str = "") -> Iterator[tuple[str, object]]:
    """Yield dotted keys with their values; lists of tables are entered, other lists are not."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _flat(item, f"{key}.{name}" if key else name)
    elif isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        for number, item in enumerate(value):
            yield from _flat(item, f"{key}.{number}")
    else:
        yield key, value


def _listed(changed: Mapping[str, tuple[object, object]]) -> str:
    return "\n".join(
        f"  {key}: {json.dumps(before)} then, {json.dumps(now)} now"
        for key, (before, now) in changed.items()
    )
