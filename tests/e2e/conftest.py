"""One stage for all stories of a session: Airflow is started once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.harness import Stage

STAGE = pytest.StashKey[Stage]()


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Stage]:
    folder: Path = tmp_path_factory.mktemp("e2e")
    with Stage(folder) as stage:
        request.session.stash[STAGE] = stage
        yield stage
        del request.session.stash[STAGE]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    stage = item.session.stash.get(STAGE, None)
    if report.failed and stage is not None:
        try:
            report.sections += stage.evidence()
        except Exception as error:
            report.sections.append(("No evidence", repr(error)))
    return report
