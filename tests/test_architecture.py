"""The house rules that a machine can check: who may import whom, and how large a file may be."""

import ast
import re
from pathlib import Path

import pytest

import cellulus

SOURCE = Path(cellulus.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))
IDS = [str(file.relative_to(SOURCE)) for file in FILES]

# From the bottom up. A package imports from the layers below its own; packages of one layer do
# not see each other.
LAYERS = [
    {"errors"},
    {"settings", "space", "progress", "files"},
    {"data", "nn", "ops", "blocks"},
    {"methods"},
    {"experiment", "report"},
    {"runs"},
    {"pipeline"},
    {"cli"},
    {"__main__"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
LEVEL["__init__"] = -1
BETWEEN_SIBLINGS = {("data", "ops")}  # what is read may be worked on; operations know no files


def package_of(file):
    part = file.relative_to(SOURCE).parts[0]
    return part.removesuffix(".py")


def imports(tree):
    """The modules that a file imports when it runs, also inside functions."""
    for node in runtime_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            yield from (f"{module}.{alias.name}" for alias in node.names)


def runtime_nodes(node):
    """Everything below a node but what stands under ``if TYPE_CHECKING``."""
    yield node
    for child in ast.iter_child_nodes(node):
        is_typing = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
        if not is_typing:
            yield from runtime_nodes(child)


def tree_of(file):
    return ast.parse(file.read_text())


def test_there_is_something_to_check():
    assert len(FILES) > 30


def test_every_package_has_a_layer():
    assert {package_of(file) for file in FILES} <= set(LEVEL)


@pytest.mark.parametrize("file", FILES, ids=IDS)
def test_imports_go_downward_only(file):
    here = package_of(file)
    for name in imports(tree_of(file)):
        if not name.startswith("cellulus."):
            continue
        there = name.split(".")[1]
        if there in LEVEL and there != here and (here, there) not in BETWEEN_SIBLINGS:
            assert LEVEL[there] < LEVEL[here], f"{here} imports {name}"


@pytest.mark.parametrize("file", FILES, ids=IDS)
def test_files_are_small(file):
    assert len(file.read_text().splitlines()) <= 300


@pytest.mark.parametrize("file", FILES, ids=IDS)
def test_files_open_with_what_they_are_about(file):
    assert ast.get_docstring(tree_of(file))


@pytest.mark.parametrize("file", FILES, ids=IDS)
def test_dimension_is_no_suffix(file):
    assert not re.search(r"[23]d", file.stem, re.IGNORECASE)
    if file.relative_to(SOURCE) == Path("nn/conv.py"):
        return
    for node in ast.walk(tree_of(file)):
        if isinstance(node, ast.ImportFrom | ast.Import):
            continue  # the names of others
        name = getattr(node, "name", None) or getattr(node, "arg", None)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            name = node.id
        if isinstance(name, str):
            assert not re.search(r"(^|_)[23]d($|_)|[a-z][23][dD]$", name), name


@pytest.mark.parametrize("file", FILES, ids=IDS)
def test_no_relative_imports_and_no_print(file):
    for node in ast.walk(tree_of(file)):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "print"


@pytest.mark.parametrize("file", FILES, ids=IDS)
def test_no_catch_all_names(file):
    assert file.stem not in {"utils", "util", "helpers", "misc", "common"}
    for node in ast.walk(tree_of(file)):
        if isinstance(node, ast.ClassDef):
            assert not node.name.endswith(("Manager", "Helper", "Utils"))


@pytest.mark.parametrize("file", FILES, ids=IDS)
def test_rich_is_known_to_the_console_alone(file):
    if file.relative_to(SOURCE) == Path("cli/console.py"):
        return
    assert not [name for name in imports(tree_of(file)) if name.split(".")[0] == "rich"]


def test_tests_have_names_of_their_own():
    """Test folders are no packages, so that two files of one name would be one module."""
    names = [file.name for file in Path(__file__).parent.rglob("test_*.py")]
    assert len(names) == len(set(names))


def test_a_wrong_import_would_be_seen():
    tree = ast.parse(
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from cellulus.cli import hidden\n"
        "def f():\n    from cellulus.pipeline import seen\n"
    )
    assert [name for name in imports(tree) if name.startswith("cellulus")] == [
        "cellulus.pipeline.seen"
    ]
