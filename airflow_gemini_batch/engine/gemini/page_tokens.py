"""A listing is read page by page, to its end, which a service must not be able to put off for ever."""

from __future__ import annotations

from airflow_gemini_batch.engine.errors import OutcomeUnknownError


class PageTokens:
    """The page tokens of one listing. A token that comes a second time, however much later, would make the listing endless.

    :param listed: what is listed, for the error.
    """

    def __init__(self, listed: str) -> None:
        self.latest: str | None = None
        self._listed = listed
        self._seen: set[str] = set()

    def go_on(self, token: str | None) -> bool:
        """Whether there is another page; ``latest`` is then its token. Raises OutcomeUnknownError for a token seen before."""
        if token is None:
            return False
        if token in self._seen:
            raise OutcomeUnknownError(f"The listing of {self._listed} does not end: the service gave the same page token twice.")
        self._seen.add(token)
        self.latest = token
        return True
