"""Texts from outside as they may be shown: in a log line, an exception, or the ``message`` column of a table.

Two rules: a text cannot act on the terminal or the page that shows it, nor begin a line of its own; and an API key that the
service or a proxy echoes is masked, whatever it is part of.
"""

from __future__ import annotations

import re
import unicodedata

#: What stands for an API key. No word of a message looks like it.
MASK = "[API key]"

#: The form of Google's API keys, for a key that this process does not use.
_GOOGLE_KEY = re.compile(r"AIza[0-9A-Za-z_-]{35}")

#: Shorter keys, as an emulator may have, could be words of any text. 8 characters for a message, 20 for the content of a file.
_SHORTEST_IN_TEXT = 8
_SHORTEST_IN_FILE = 20

#: Cc: control characters, with line ends and the escape of ANSI sequences. Cf: marks of direction, zero-width characters, byte
#: order mark, tags. Cs: lone surrogates, which no UTF-8 can hold. Zl and Zp: line ends of Unicode.
_ESCAPED = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})

_keys: dict[str, re.Pattern[str]] = {}


def remember_key(key: str) -> None:
    """Mask this API key from now on, in this process."""
    if len(key) >= _SHORTEST_IN_TEXT and key not in _keys:
        _keys[key] = re.compile(re.escape(key), re.IGNORECASE)  # a host name comes back in lower case


def printable(text: str) -> str:
    r"""The text in one line: control and format characters are escaped as in a Python string (``\n``, ``\x1b``, ``\u202e``)."""
    if not text.isascii() or not text.isprintable():
        text = "".join(map(_escaped, text))
    return masked(text)


def masked(text: str) -> str:
    """The text without API keys: this process's own, and any other of the form of Google's."""
    for key in tuple(_keys.values()):
        text = key.sub(MASK, text)
    return _GOOGLE_KEY.sub(MASK, text)


def keys_in_files() -> list[bytes]:
    """The keys that are replaced in what is kept as received. Short ones, which may be words of an answer, are left out."""
    return [key.encode() for key in tuple(_keys) if len(key) >= _SHORTEST_IN_FILE]


def masked_bytes(content: bytes) -> bytes:
    """The content with each API key replaced by asterisks of the same length."""
    for key in keys_in_files():
        content = content.replace(key, b"*" * len(key))
    return content


def _escaped(character: str) -> str:
    if unicodedata.category(character) not in _ESCAPED:
        return character
    return character.encode("ascii", "backslashreplace").decode() if ord(character) > 0x7F else repr(character)[1:-1]
