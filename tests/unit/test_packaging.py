"""What an installer, Airflow and a type checker find of the package."""

from __future__ import annotations

import ast
import importlib
import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import airflow
import jsonschema
import pytest

import airflow_gemini_batch
from airflow_gemini_batch import cli
from airflow_gemini_batch.provider_info import get_provider_info

ROOT = Path(__file__).parents[2]
DISTRIBUTION = "airflow-gemini-batch"


def _entry_points() -> list[metadata.EntryPoint]:
    return list(metadata.distribution(DISTRIBUTION).entry_points)


def _airflow_schema(name: str) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads((Path(airflow.__file__).parent / name).read_text(encoding="utf-8"))
    return schema


def _strings(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            yield from (text for item in value.values() for text in _strings(item))
        case list() | tuple():
            yield from (text for item in value for text in _strings(item))


def _dotted_names_of_ours() -> list[str]:
    return sorted({text for text in _strings(get_provider_info()) if re.fullmatch(r"airflow_gemini_batch(\.\w+)+", text)})


def test_the_version_is_the_installed_one() -> None:
    assert airflow_gemini_batch.__version__ == metadata.version(DISTRIBUTION)


@pytest.mark.parametrize("entry_point", _entry_points(), ids=lambda entry_point: f"{entry_point.group}:{entry_point.name}")
def test_entry_points_resolve(entry_point: metadata.EntryPoint) -> None:
    if entry_point.group.startswith("airflow.providers.common.ai."):
        pytest.importorskip("airflow.providers.common.ai", reason="needs Python 3.11")

    assert callable(entry_point.load())


def test_both_ways_to_the_plugin_name_the_same_one() -> None:
    # Airflow skips a plugin whose name it has seen already: with two names it would load ours twice.
    [entry_point] = [found for found in _entry_points() if found.group == "airflow.plugins"]
    [plugin] = get_provider_info()["plugins"]

    assert plugin == {"name": entry_point.name, "plugin-class": entry_point.value.replace(":", ".")}
    assert entry_point.load().name == entry_point.name


@pytest.mark.parametrize("name", airflow_gemini_batch.__all__)
def test_public_names_resolve(name: str) -> None:
    value = getattr(airflow_gemini_batch, name)

    # A type alias has no name of its own.
    assert getattr(value, "__name__", name) == name


def test_public_names_are_the_same_at_run_time_and_for_type_checkers() -> None:
    tree = ast.parse(Path(airflow_gemini_batch.__file__).read_text(encoding="utf-8"))
    [for_checkers] = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    imported = {
        alias.name: statement.module.removeprefix("airflow_gemini_batch.")
        for statement in for_checkers.body
        if isinstance(statement, ast.ImportFrom) and statement.module
        for alias in statement.names
    }

    assert imported == airflow_gemini_batch._HOMES
    assert sorted(imported) == sorted(airflow_gemini_batch.__all__)


def test_a_name_that_is_not_public_is_refused_by_name() -> None:
    with pytest.raises(AttributeError, match="no attribute 'GeminiBatchOperater'"):
        airflow_gemini_batch.GeminiBatchOperater  # noqa: B018


def test_provider_info_is_what_airflow_expects() -> None:
    info = get_provider_info()

    jsonschema.validate(info, _airflow_schema("provider_info.schema.json"))
    # The form's own keys are described only by the schema of the file that Airflow's own providers are generated from.
    form = _airflow_schema("provider.yaml.schema.json")["properties"]["connection-types"]
    jsonschema.validate(info["connection-types"], form)


@pytest.mark.parametrize("name", _dotted_names_of_ours())
def test_what_provider_info_names_can_be_imported(name: str) -> None:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        module, _, attribute = name.rpartition(".")
        assert hasattr(importlib.import_module(module), attribute)


def test_airflow_shows_the_connection_form() -> None:
    from airflow.providers_manager import ProvidersManager

    manager = ProvidersManager()

    assert manager.field_behaviours["gemini"]["relabeling"] == {"password": "API key", "host": "Base URL"}
    assert {"extra__gemini__api_version", "extra__gemini__request_timeout"} <= set(manager.connection_form_widgets)


def test_everything_imported_is_declared() -> None:
    provided = metadata.packages_distributions()
    declared = {_normal(requirement) for requirement in metadata.requires(DISTRIBUTION) or () if "extra ==" not in requirement}
    # Airflow's own parts come with it, numpy with pandas, and with google-genai the transport that its major version uses.
    # Airflow has its database through sqlalchemy, in the one version that it works with.
    # typing_extensions is imported by type checkers alone, which bring it.
    # aiohttp is the extra "http": imported where a row names a file of a web host.
    # opentelemetry-api comes with Airflow, and nothing is missing without it.
    # genai-prices is the extra "costs": imported where a run is built.
    # scipy is the extra "evals": imported where runs are compared.
    implied = {
        "aiohttp",
        "genai-prices",
        "opentelemetry-api",
        "apache-airflow-core",
        "apache-airflow-task-sdk",
        "numpy",
        "scipy",
        "sqlalchemy",
        "httpx2",
        "typing-extensions",
    }

    undeclared = {
        f"{file.relative_to(ROOT)}: {top}"
        for file in (ROOT / "airflow_gemini_batch").rglob("*.py")
        for top in _top_level_imports(file)
        if top in provided and not {_normal(name) for name in provided[top]} & (declared | implied | {DISTRIBUTION})
    }

    assert undeclared == set()


def _normal(requirement: str) -> str:
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0].replace("_", "-").lower()


def _top_level_imports(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.split(".")[0]


def test_the_wheel_holds_the_package_and_nothing_else(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]

    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=60)

    [wheel] = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "airflow_gemini_batch/py.typed" in names
    kinds = {".py", ".html", ".css", ".js", ".svg"}
    files = {file for file in (ROOT / "airflow_gemini_batch").rglob("*") if file.suffix in kinds}
    assert {str(file.relative_to(ROOT)) for file in files} <= set(names)
    assert {name.split("/")[0] for name in names} == {"airflow_gemini_batch", "airflow_gemini_batch-0.1.0.dist-info"}


@pytest.mark.parametrize("command", sorted(cli.COMMANDS))
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^0$"):
        cli.main([command, "--help"])

    assert capsys.readouterr().out.startswith(f"usage: gemini-batch {command}")


def test_an_unknown_command_is_refused_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^2$"):
        cli.main(["serve"])

    assert "choose from" in capsys.readouterr().err
