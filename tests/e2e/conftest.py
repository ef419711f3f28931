"""One stack (Airflow and the emulator) for all scenarios of a test session: Airflow is started once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.harness import Stack

STACK = pytest.StashKey[Stack]()


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Stack]:
    folder: Path = tmp_path_factory.mktemp("e2e")
    with Stack(folder) as stack:
        request.session.stash[STACK] = stack
        yield stack
        del request.session.stash[STACK]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    stack = item.session.stash.get(STACK, None)
    if report.failed and stack is not None:
        try:
            report.sections += stack.logs()
        except Exception as error:
            report.sections.append(("The logs could not be collected", repr(error)))
    return report
