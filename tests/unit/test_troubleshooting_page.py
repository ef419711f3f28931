"""docs/troubleshooting.md says of every error whether Airflow retries it, as the code does."""

from __future__ import annotations

import re
from pathlib import Path

from airflow_gemini_batch._errors import RETRYABLE
from airflow_gemini_batch.engine import errors

PAGE = Path(__file__).parents[2] / "docs" / "troubleshooting.md"

#: Never raised themselves.
BASES = (errors.GeminiBatchError, errors.ServiceError)


def test_the_page_says_of_every_error_whether_it_is_retried() -> None:
    rows = re.findall(r"^\| (`.*?) \| (retries|fails) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    on_page = {name: verdict for names, verdict in rows for name in re.findall(r"`(\w+)`", names)}

    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.GeminiBatchError)]
    in_code = {kind.__name__: "retries" if issubclass(kind, RETRYABLE) else "fails" for kind in kinds if kind not in BASES}
    assert {name: verdict for name, verdict in on_page.items() if name in in_code} == in_code
