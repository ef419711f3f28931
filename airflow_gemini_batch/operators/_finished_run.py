"""What the operators share that do something about dead letters of a finished run: where it is, and which letters are meant."""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_gemini_batch.links import GeminiBatchRunLink
from airflow_gemini_batch.operators._arguments import check_arguments
from airflow_gemini_batch.operators.base import GeminiOperator

if TYPE_CHECKING:
    import os

    from airflow.sdk import ObjectStoragePath, XComArg
    from typing_extensions import Unpack

    from airflow_gemini_batch.engine.finish.selection import Selection
    from airflow_gemini_batch.operators._airflow_arguments import GeminiOperatorArguments

#: The arguments that select dead letters.
_SELECTED_BY = ("reasons", "keys", "message", "codes", "retryable", "limit")


class LettersOperator(GeminiOperator):
    """An operator that selects dead letters of a finished run."""

    template_fields: Sequence[str] = ("destination", *_SELECTED_BY, *GeminiOperator.template_fields)
    operator_extra_links = (GeminiBatchRunLink(),)
    checked: ClassVar[tuple[str, ...]] = ("destination", *_SELECTED_BY)

    def __init__(
        self,
        *,
        destination: str | os.PathLike[str] | ObjectStoragePath | Mapping[str, Any] | XComArg,
        reasons: Collection[str] | XComArg | None = None,
        keys: Collection[str] | XComArg | None = None,
        message: str | XComArg | None = None,
        codes: Collection[int] | XComArg | None = None,
        retryable: bool | XComArg | None = None,
        limit: int | XComArg | None = None,
        **kwargs: Unpack[GeminiOperatorArguments],
    ) -> None:
        super().__init__(**kwargs)
        given = {"reasons": reasons, "keys": keys, "message": message, "codes": codes, "retryable": retryable, "limit": limit}
        check_arguments(given if isinstance(destination, Mapping) else {"destination": destination, **given})
        # Any: each may be an XComArg until Airflow has rendered it.
        self.destination: Any = destination
        self.reasons: Any = reasons
        self.keys: Any = keys
        self.message: Any = message
        self.codes: Any = codes
        self.retryable: Any = retryable
        self.limit: Any = limit

    def selection(self, *, include_discarded: bool = False) -> Selection:
        """The letters that are meant. Raises InputError for a value that cannot be meant."""
        from airflow_gemini_batch.engine.finish.selection import Selection

        return Selection.of(
            self.reasons,
            self.keys,
            message=self.message,
            codes=_value_of(self.codes),
            retryable=_value_of(self.retryable),
            limit=_value_of(self.limit),
            include_discarded=include_discarded,
        )


def _value_of(rendered: Any) -> Any:
    """A number, a flag or a list of a template, which becomes text. What is none stays as it is, for the engine to refuse."""
    if isinstance(rendered, str):
        with contextlib.suppress(ValueError, SyntaxError):
            return ast.literal_eval(rendered)
    return rendered
