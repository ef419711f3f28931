"""How google-genai is called: over which HTTP library, and without which warning."""

from __future__ import annotations

import contextlib
import importlib
import os
import warnings
from collections.abc import Iterator
from typing import Any

#: Set by users to choose google-genai's HTTP library.
HTTP_CLIENT_VARIABLE = "GOOGLE_GENAI_HTTP_CLIENT"


def http_library() -> Any:
    """The module of the HTTP library whose clients are given to google-genai: ``httpx`` or ``httpx2``.

    ``GOOGLE_GENAI_HTTP_CLIENT`` is read as google-genai 3 reads it (``_get_http_client_backend``): white space and case do not
    matter, ``httpx`` and ``httpx2`` are binding, and ImportError is raised if the named one is not installed. With ``auto``,
    another value or none, google-genai takes the library of the client that it is given, so the choice is ours: ``httpx``, which
    this package requires and which both majors of google-genai accept.
    """
    chosen = os.environ.get(HTTP_CLIENT_VARIABLE, "").strip().lower()
    return importlib.import_module("httpx2" if chosen == "httpx2" else "httpx")


@contextlib.contextmanager
def expected_warnings() -> Iterator[None]:
    """Silence google-genai's warning that embedding jobs are experimental: users of this package cannot act on it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".*create_embeddings\(\) is experimental")
        yield
