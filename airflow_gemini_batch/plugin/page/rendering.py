"""Templates become HTML. Every value is escaped: texts of rows, of models and of the service are data."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from airflow_gemini_batch.engine.report import words
from airflow_gemini_batch.links import base_path, console_url, page_of_dag_run, page_of_task

STATIC_FOLDER = Path(__file__).parent / "static"


def render(template: str, **context: Any) -> str:
    """A template of the folder, filled."""
    return _environment().get_template(template).render(context)


def section(name: str, view: Any) -> dict[str, str]:
    """A part of a page that changes, and its digest."""
    html = render(f"_{name}.html", view=view)
    return {"html": html, "digest": hashlib.sha256(html.encode()).hexdigest()[:12]}


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(words.FILTERS)
    environment.globals.update(
        console_url=console_url,
        page_of_dag_run=page_of_dag_run,
        page_of_task=page_of_task,
        base_path=base_path,
        section=section,
        version=_version_of_files(),
    )
    return environment


def _version_of_files() -> str:
    """Changes with the files, so that a browser never shows old ones with a new page."""
    content = hashlib.sha256()
    for file in sorted(STATIC_FOLDER.iterdir()):
        content.update(file.read_bytes())
    return content.hexdigest()[:8]
