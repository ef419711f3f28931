"""The order of the engine's layers: an import points to the same layer, an earlier one, or the base."""

from __future__ import annotations

import pytest

from tests.unit.test_architecture import MODULES, home_of, imported_by

ENGINE = "airflow_gemini_batch.engine"

#: Modules and folders that every layer may import, and that import no layer.
BASE = ("errors", "options", "printable", "project_limits", "rates", "reasons", "specs", "threads", "arrow", "json", "shapes")

#: In the order of the data's way; the last four see everything.
LAYERS = (
    *(
        "costs",
        "gemini",
        "run",
        "slots",
        "source",
        "request",
        "build",
        "estimate",
        "submit",
        "wait",
        "response",
        "collect",
        "finish",
    ),
    *("report", "passes", "advance", "api", "cleanup"),
)
_RANKS = {**dict.fromkeys(BASE, 0), **{layer: rank for rank, layer in enumerate(LAYERS, start=1)}}

#: module -> imports that point forward: none.
FORWARD: dict[str, set[str]] = {}

ENGINE_MODULES = {module.removeprefix(f"{ENGINE}."): file for module, file in MODULES.items() if module.startswith(f"{ENGINE}.")}


def _layer_of(module: str) -> str:
    return module.partition(".")[0]


@pytest.mark.parametrize("module", ENGINE_MODULES)
def test_imports_point_to_the_same_layer_an_earlier_one_or_the_base(module: str) -> None:
    homes = {home for name in imported_by(ENGINE_MODULES[module]) if (home := home_of(name)) and home.startswith(f"{ENGINE}.")}
    imported = {home.removeprefix(f"{ENGINE}.") for home in homes}

    forward = {name for name in imported if _RANKS[_layer_of(name)] > _RANKS[_layer_of(module)]}

    assert forward == FORWARD.get(module, set())


def test_every_layer_has_modules() -> None:
    assert {_layer_of(module) for module in ENGINE_MODULES} == set(_RANKS)


def test_the_engine_does_not_know_the_evaluations() -> None:
    imported = {name for file in ENGINE_MODULES.values() for name in imported_by(file)}

    assert not {name for name in imported if name.startswith("airflow_gemini_batch.evals")}
