"""Which version of the API the integration tests speak; `make test-matrix` runs them on each."""

from __future__ import annotations

import os

#: None: what the engine, or an SDK without a setting, would take by itself.
API_VERSION = os.environ.get("GEMINI_API_VERSION")
