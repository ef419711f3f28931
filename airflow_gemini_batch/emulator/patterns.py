"""Regular expressions that callers give: in fault rules, and as the `pattern` of a schema.

They are RE2, which pyarrow has built in. RE2 never backtracks: a match takes time proportional to the text, whatever the
pattern, so no rule and no row can hold the emulator up. It has no lookarounds and no backreferences.
"""

from __future__ import annotations

from collections.abc import Sequence

#: A longer pattern is refused: RE2's time also grows with the pattern.
_MAX_LENGTH = 1000


def why_refused(pattern: str) -> str | None:
    """Why `pattern` cannot be used, in one line, or None."""
    try:
        first_match(pattern, [""])
    except ValueError as error:
        return str(error)
    return None


def is_found(pattern: str, text: str) -> bool:
    """Whether `pattern` is found anywhere in `text`. Raises ValueError if RE2 does not take the pattern."""
    return first_match(pattern, [text]) is not None


def first_match(pattern: str, texts: Sequence[str]) -> str | None:
    """The first of `texts` in which `pattern` is found, or None. Raises ValueError if RE2 does not take the pattern."""
    if not pattern:
        return texts[0] if texts else None
    if len(pattern) > _MAX_LENGTH:
        raise ValueError(f"the pattern has {len(pattern)} characters, at most {_MAX_LENGTH} are allowed")
    # Imported here: it takes longer than everything else that the emulator needs at its start.
    import pyarrow as pa
    import pyarrow.compute as pc

    values = pa.array([_utf8(text) for text in texts], pa.string())
    matches = pc.match_substring_regex(values, _utf8(pattern)).to_pylist()
    return next((text for text, matched in zip(texts, matches, strict=True) if matched), None)


def _utf8(text: str) -> str:
    """RE2 reads UTF-8, which has no lone surrogates."""
    return text.encode("utf-8", "replace").decode()
