"""From what was typed to what is done: the experiment, and the run folder it belongs to.

An experiment file, a run folder and plain paths all come to the same thing, a `Job`. Knows
nothing of the steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cellulus.cli import console
from cellulus.errors import InputError, MissingError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cellulus.experiment.sections import Experiment
    from cellulus.runs import Run


@dataclass(frozen=True)
class Job:
    """What a command works on.

    Attributes
    ----------
    experiment
        Checked, with every default and every ``--set``.
    text
        The experiment as given, or as written in its place.
    folder
        The run folder.
    """

    experiment: Experiment
    text: str
    folder: Path

    def start(
        self, *, resume: bool = False, overwrite: bool = False, results: Sequence[str] = ()
    ) -> Run:
        """Open the run folder and record the experiment; see `Run.start`."""
        from cellulus.runs import Run

        if resume and overwrite:
            raise InputError(
                "--resume --overwrite", expected="one of the two", found="both of them"
            )
        return Run.start(
            self.folder, self.experiment, self.text,
            resume=resume, overwrite=overwrite, results=results,
        )  # fmt: skip


def overrides(
    changes: Sequence[str], seed: int | None = None, memory: str | None = None
) -> list[str]:
    """Return every change that the command line makes to an experiment."""
    short = {"seed": seed, "memory": memory}
    return [*changes, *(f"{key}={value}" for key, value in short.items() if value is not None)]


def defaults(changes: Sequence[str]) -> Experiment:
    """Return the default settings, changed as the command line asks, for steps without images."""
    from cellulus.experiment.load import parse

    nothing = '[[data.apply]]\nimage = "none"\n'
    return parse(nothing, source="the defaults", base=Path(), overrides=changes)


def job_of(paths: Sequence[str], *, output: Path | None, changes: Sequence[str]) -> Job | None:
    """Return the job of an experiment file or a run folder; None for other paths."""
    from cellulus.experiment.load import parse, read
    from cellulus.runs import Run

    experiments = [path for path in paths if path.endswith(".toml")]
    if experiments and len(paths) > 1:
        raise InputError(
            " ".join(paths), expected="one experiment, or paths of data", found="several things"
        )
    path = Path(paths[0])
    if experiments:
        text = read(path)
        experiment = parse(text, source=path.name, base=path.parent, overrides=changes)
        return Job(experiment, _with_changes(text, experiment, changes), _folder(output, path.stem))
    run = Run.around(path)
    if len(paths) == 1 and run is not None and run.folder == path.absolute():
        return _changed(run.recorded(), changes, output or path)
    return None


def job_of_images(paths: Sequence[str], *, output: Path | None, changes: Sequence[str]) -> Job:
    """Return the job of an experiment, or of images, for which an experiment is written."""
    from cellulus.experiment.load import parse

    job = job_of(paths, output=output, changes=changes)
    if job is not None:
        return job
    from cellulus.pipeline.init import init, name_of

    name = name_of(paths)
    folder = _folder(output, name)
    proposal = init(paths, base=folder)
    console.say("\n".join(proposal.summary))
    text = proposal.text
    experiment = parse(text, source=f"{name}.toml", base=folder, overrides=changes)
    return Job(experiment, _with_changes(text, experiment, changes), folder)


def job_of_prediction(
    paths: Sequence[str], *, model: Path | None, output: Path | None, changes: Sequence[str]
) -> tuple[Job, Path | None]:
    """Return the job of a prediction, and the model file to predict with, where one was named.

    Images are predicted with the settings of the run that the model lies in.
    """
    job = job_of(paths, output=output, changes=changes)
    if model is None and job is None:
        raise InputError(
            " ".join(paths),
            expected="an experiment, or images and a model",
            found="images alone",
            remedy="name a trained run with -m RUN, or let cellulus run train one",
        )
    file = None if model is None else model_file(model)
    if job is None and file is not None:
        job = _job_of_trained(paths, file, output, changes)
    if job is None:
        job = job_of_images(paths, output=output, changes=changes)
    return job, file


def model_file(model: Path) -> Path:
    """Return the model file that was named, or that of the run folder that was.

    Raises
    ------
    MissingError
        If there is none.
    """
    from cellulus.runs import Run

    file = Run(model).model if model.is_dir() else model
    if not file.is_file():
        raise MissingError(
            model, expected="a run folder with a trained model, or a model file", found="none"
        )
    return file


def _job_of_trained(
    paths: Sequence[str], model: Path, output: Path | None, changes: Sequence[str]
) -> Job | None:
    """Return the job of images with the settings of the run of `model`; None outside of a run."""
    from cellulus.experiment.load import absolute
    from cellulus.experiment.sections import ApplyImage
    from cellulus.pipeline.init import name_of
    from cellulus.runs import Run

    run = Run.around(model)
    if run is None:
        return None
    recorded = run.recorded()
    apply = tuple(ApplyImage(image=absolute(path, Path())) for path in paths)
    data = recorded.data.model_copy(update={"apply": apply})
    experiment = recorded.model_copy(update={"data": data})
    return _changed(experiment, changes, _folder(output, name_of(paths)))


def job_of_results(
    paths: Sequence[str], *, output: Path | None, changes: Sequence[str], step: str
) -> tuple[Job, list[Path]]:
    """Return the job of a step that goes on from results, and the results that were named.

    The settings are those of the run that the results lie in.
    """
    from cellulus.runs import Run

    job = job_of(paths, output=output, changes=changes)
    if job is not None:
        return job, []
    for path in paths:
        if "://" not in path and not Path(path).exists():
            raise MissingError(path, expected=f"something to {step}", found="nothing there")
    named = [Path(path) for path in paths]
    run = Run.around(named[0])
    if run is None and step == "postprocess":
        return _job_of_loose(paths, output, changes), named
    if run is None:
        raise InputError(
            paths[0],
            expected="a prediction inside a run folder",
            found="something that belongs to no run",
            remedy="cellulus run does all steps from the image on",
        )
    return _changed(run.recorded(), changes, output or run.folder), named


def _job_of_loose(labels: Sequence[str], output: Path | None, changes: Sequence[str]) -> Job:
    """Return the job of labels that no run made; their grid stands for the image's."""
    from cellulus.experiment.load import absolute
    from cellulus.experiment.sections import ApplyImage, Data, Experiment
    from cellulus.pipeline.init import name_of

    apply = tuple(ApplyImage(image=absolute(path, Path())) for path in labels)
    return _changed(Experiment(data=Data(apply=apply)), changes, _folder(output, name_of(labels)))


def _changed(experiment: Experiment, changes: Sequence[str], folder: Path) -> Job:
    """Return the job of an experiment that has no file, changed as the command line asks."""
    from cellulus.experiment.load import parse
    from cellulus.experiment.render import render

    text = render(experiment)
    experiment = parse(text, source="the recorded experiment", base=Path(), overrides=changes)
    return Job(experiment, _with_changes(text, experiment, changes), folder)


def _with_changes(text: str, experiment: Experiment, changes: Sequence[str]) -> str:
    """Return the text that stands for the experiment: as given, unless it was changed."""
    from cellulus.experiment.render import render

    return render(experiment, header="As changed on the command line.") if changes else text


def _folder(output: Path | None, name: str) -> Path:
    return output or Path("runs") / name
