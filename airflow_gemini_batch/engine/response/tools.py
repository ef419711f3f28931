"""What tools and thinking add to an answer, each in a column of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from airflow_gemini_batch.engine.arrow import columns
from airflow_gemini_batch.engine.response.candidates import Candidate, Part, first_candidate
from airflow_gemini_batch.engine.response.responses import Answer


@dataclass(frozen=True, slots=True)
class CandidateColumn:
    """Text from the answer's first candidate, null where there is none. Never a reason to refuse an answer."""

    name: str
    members: tuple[bytes, ...]
    """From an answer's JSON, which is not decoded where it contains none of them."""
    text_of: Callable[[Candidate], bytes | None]
    type: pa.DataType = field(default_factory=pa.string)

    def read(self, answers: Sequence[Answer]) -> tuple[pa.Array, dict[int, str]]:
        return columns.utf8([self._text(answer.response) for answer in answers]), {}

    def _text(self, response: bytes) -> bytes | None:
        return self.text_of(first_candidate(response)) if any(member in response for member in self.members) else None


def _grounding(candidate: Candidate) -> bytes | None:
    return _object(bytes(candidate.grounding_metadata))


def _citations(candidate: Candidate) -> bytes | None:
    return _object(bytes(candidate.citation_metadata))


def _url_context(candidate: Candidate) -> bytes | None:
    return _object(bytes(candidate.url_context_metadata))


def _object(raw: bytes) -> bytes | None:
    return raw if raw.startswith(b"{") else None


def _function_calls(candidate: Candidate) -> bytes | None:
    calls = [bytes(part.function_call) for part in candidate.parts if _object(bytes(part.function_call))]
    return _list(calls)


def _code_execution(candidate: Candidate) -> bytes | None:
    return _list([step for part in candidate.parts for step in _steps(part)])


def _steps(part: Part) -> list[bytes]:
    """The part's code and result, each in an object under the name that the service gives it."""
    members = {b"executableCode": part.executable_code, b"codeExecutionResult": part.code_execution_result}
    return [b'{"%b":%b}' % (name, bytes(value)) for name, value in members.items() if _object(bytes(value))]


def _list(items: list[bytes]) -> bytes | None:
    return b"[%b]" % b",".join(items) if items else None


def _thoughts(candidate: Candidate) -> bytes | None:
    return "".join([part.text for part in candidate.parts if part.thought and part.text]).encode() or None


GROUNDING = CandidateColumn("grounding", (b"groundingMetadata", b"grounding_metadata"), _grounding)
CITATIONS = CandidateColumn("citations", (b"citationMetadata", b"citation_metadata"), _citations)
FUNCTION_CALLS = CandidateColumn("function_calls", (b"functionCall", b"function_call"), _function_calls)
CODE_EXECUTION = CandidateColumn(
    "code_execution", (b"executableCode", b"executable_code", b"codeExecutionResult", b"code_execution_result"), _code_execution
)
URL_CONTEXT = CandidateColumn("url_context", (b"urlContextMetadata", b"url_context_metadata"), _url_context)
THOUGHTS = CandidateColumn("thoughts", (b'"thought"',), _thoughts)
