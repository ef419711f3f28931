"""Answer texts: extracts of the prompt.

Extracts read naturally because a person wrote the prompt. They are synthetic nevertheless: no model is involved.
"""

from __future__ import annotations

import re
from functools import lru_cache

_SENTENCE_END = re.compile(r"[.!?](?=\s|$)")
_WORD = re.compile(r"[^\W_][\w'\-]*", re.UNICODE)

#: What usually separates an instruction from the text it is about; the most reliable separator comes first.
_SEPARATORS = ("\n\n", ":\n", ": ", "\n")

#: Only this many characters of a prompt are searched, so that a very long prompt costs no more than a page.
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
    """The part of a prompt that looks like data rather than instruction."""
    head = prompt[:_REACH]
    for separator in _SEPARATORS:
        _, found, rest = head.partition(separator)
        if found and (rest := rest.strip()):
            return rest
    return head.strip()


def extract(prompt: str, sentences: int = 1, max_words: int = 40) -> str:
    """The first `sentences` sentences of the prompt's data, at most `max_words` words."""
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
    return " ".join(words[:max_words]) + ("…" if len(words) > max_words else "")


@lru_cache(maxsize=16)
def content_words(prompt: str) -> tuple[str, ...]:
    """The words of the prompt's data without stop words, each once, in order; never empty.

    Cached, because every value of an answer uses it.
    """
    words = dict.fromkeys(word for word in _WORD.findall(data_part(prompt)) if word.lower() not in _STOP_WORDS)
    return tuple(words) or tuple(_WORD.findall(prompt[:_REACH])) or ("nothing",)


def phrase(prompt: str, choice: int, length: int = 3) -> str:
    """A phrase of `length` consecutive content words. `choice` picks where it starts."""
    words = content_words(prompt)
    start = choice % max(1, len(words) - length + 1)
    chosen = " ".join(words[start : start + length])
    return chosen[:1].upper() + chosen[1:]
