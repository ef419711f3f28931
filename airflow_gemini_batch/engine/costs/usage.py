"""What one answer used, as far as it decides about its price."""

from __future__ import annotations

import msgspec


class Usage(msgspec.Struct, frozen=True, gc=False):
    """Tokens and searches of one request.

    :param input: everything that went in: prompt, cached content, and what tools returned to the model.
    :param cached: the part of ``input`` that was read from a cache.
    :param output: everything that came out, thoughts included.
    :param parts: kind (such as ``input_audio``, see ``rates.TOKEN_KINDS``) -> tokens of it; None where all is text. When the
        service says how the cached tokens are composed, all ``cached_`` kinds are there.
    :param queries: distinct searches that the model made.
    :param unsplit: the answer holds media, and the usage does not say how many of the output tokens they are.
    """

    input: int = 0
    cached: int = 0
    output: int = 0
    parts: dict[str, int] | None = None
    queries: int = 0
    unsplit: bool = False


#: Of a request that was never sent, or that the service refused: nothing was paid for it.
NOTHING = Usage()
