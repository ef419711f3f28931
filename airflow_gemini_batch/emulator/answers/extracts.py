"""Text made from the request's own words: extracts that look sensible, since they were written by somebody.

They are synthetic all the same: no model has read anything here.
"""

from __future__ import annotations

import re
from functools import lru_cache

_SENTENCE_END = re.compile(r"[.!?](?=\s|$)")
_WORD = re.compile(r"[^\W_][\w'\-]*", re.UNICODE)

#: What stands between an instruction and the text that it is about, the most telling first.
_SEPARATORS = ("\n\n", ":\n", ": ", "\n")

#: Sentences are looked for near the beginning only, so that a book costs no more than a page.
_REACH = 4000

_STOP_WORDS = frozenset(
    [
        "a",
        "an",
        "and",
        "are",
        "as",
        "at",
        "be",
        "been",
        "but",
        "by",
        "can",
        "do",
        "does",
        "for",
        "from",
        "had",
        "has",
        "have",
        "how",
        "i",
        "if",
        "in",
        "into",
        "is",
        "it",
        "its",
        "may",
        "no",
        "not",
        "of",
        "on",
        "or",
        "our",
        "so",
        "such",
        "than",
        "that",
        "the",
        "their",
        "them",
        "then",
        "there",
        "these",
        "they",
        "this",
        "to",
        "was",
        "we",
        "were",
        "what",
        "when",
        "where",
        "which",
        "who",
        "will",
        "with",
        "you",
        "your",
        "please",
        "following",
        "text",
        "write",
        "give",
        "list",
        "extract",
        "summarise",
        "summarize",
        "classify",
        "describe",
        "answer",
        "return",
        "one",
        "line",
        "sentence",
    ]
)


def data_part(prompt: str) -> str:
    """The part of a prompt that is data rather than instruction, as far as its form tells."""
    head = prompt[:_REACH]
    for separator in _SEPARATORS:
        _, found, rest = head.partition(separator)
        if found and (rest := rest.strip()):
            return rest
    return head.strip()


def extract(prompt: str, sentences: int = 1, most_words: int = 40) -> str:
    """The first sentences of the prompt's material."""
    text = data_part(prompt)
    end = 0
    for _ in range(sentences):
        found = _SENTENCE_END.search(text, end)
        if found is None:
            end = len(text)
            break
        end = found.end()
    words = text[:end].split()
    if not words:
        return "There is nothing to say about an empty prompt."
    return " ".join(words[:most_words]) + ("…" if len(words) > most_words else "")


@lru_cache(maxsize=16)
def content_words(prompt: str) -> tuple[str, ...]:
    """The material's words that carry meaning, each once, in order; never empty. Asked for again at every value of an answer."""
    words = dict.fromkeys(word for word in _WORD.findall(data_part(prompt)) if word.lower() not in _STOP_WORDS)
    return tuple(words) or tuple(_WORD.findall(prompt[:_REACH])) or ("nothing",)


def phrase(prompt: str, choice: int, length: int = 3) -> str:
    """A short phrase of neighbouring telling words, picked by `choice`."""
    words = content_words(prompt)
    start = choice % max(1, len(words) - length + 1)
    chosen = " ".join(words[start : start + length])
    return chosen[:1].upper() + chosen[1:]
