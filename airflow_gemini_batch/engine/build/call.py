"""The arguments of a build: the specification of a run, and the same with its source opened and its request compiled."""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from airflow_gemini_batch.engine.build.budget import require_limit
from airflow_gemini_batch.engine.build.sampling import Sampler
from airflow_gemini_batch.engine.costs.prices import prices_of
from airflow_gemini_batch.engine.errors import InputError
from airflow_gemini_batch.engine.options import BatchOptions
from airflow_gemini_batch.engine.request.encoding import RequestEncoder, compile_request
from airflow_gemini_batch.engine.request.fingerprints import Fingerprinter
from airflow_gemini_batch.engine.request.named_columns import columns_named
from airflow_gemini_batch.engine.run.layout import Manifest, SourceInfo
from airflow_gemini_batch.engine.run.repeats import require_repeats
from airflow_gemini_batch.engine.run.storage import Location, locate
from airflow_gemini_batch.engine.source.open import Source, open_source
from airflow_gemini_batch.engine.specs import RequestSpec, read_labels, require_sample, takes_json_as_text

IfExists = Literal["resume", "replace"]

#: What the SDK refuses in a model's name.
_NOT_IN_MODELS = ("..", "?", "&")


def uris_of(reuse: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None) -> tuple[str, ...]:
    """``reuse`` as a tuple of URIs. Raises InputError for anything else."""
    given: Any = () if reuse is None else [reuse] if isinstance(reuse, (str, os.PathLike)) else reuse
    if not isinstance(given, (list, tuple)) or not all(isinstance(uri, (str, os.PathLike)) and os.fspath(uri) for uri in given):
        raise InputError(f"reuse is {reuse!r}; expected the URI of a finished run, or of a folder of runs, or a list of them.")
    return tuple(os.fspath(uri) for uri in given)


@dataclass(frozen=True, slots=True)
class RunSpec:
    """The specification of a run: a table, what to ask for each row, and the model.

    :param source: a URI (file, folder, glob) or a list of them, a DataFrame, a list of dicts, an Arrow table or a stream of
        record batches.
    :param request: a ``GenerateRequest``, a ``RawRequest`` or a callable that makes a REST request of a row.
    :param key: the column that identifies rows; None: the row's number.
    :param carry: columns repeated in both tables.
    :param dedupe: whether rows with equal requests share one. A run that is built stays as it was built.
    :param reuse: URIs of finished runs, or of folders of runs, whose results are taken over where the request is the same.
    :param labels: who or what the run is for; not a part of the question.
    :param sample: how many rows are drawn from the table, of which the run then consists; None: all.
    :param max_cost_usd: nothing is sent that may cost more; not a part of the question.
    :param repeats: how often each row is sent; above 1 no rows share a request.
    """

    source: Any
    request: RequestSpec
    model: str
    key: str | None = None
    carry: Sequence[str] = ()
    dedupe: bool = True
    reuse: Sequence[str] = ()
    labels: Mapping[str, str] | None = None
    sample: int | None = None
    max_cost_usd: float | None = None
    locate: Callable[[str], Location] = locate
    repeats: int = 1


def require_arguments(spec: RunSpec, if_exists: str) -> None:
    """Raise InputError for what no run can be made of, whatever the source is."""
    if if_exists not in ("resume", "replace"):
        raise InputError(f"if_exists is {if_exists!r}; expected 'resume' or 'replace'.")
    if not spec.model or not isinstance(spec.model, str) or any(wrong in spec.model for wrong in _NOT_IN_MODELS):
        raise InputError(f"model is {spec.model!r}; expected a name such as 'gemini-3.6-flash'.")
    read_labels(spec.labels)
    require_sample(spec.sample)
    require_repeats(spec.repeats)
    if spec.sample is not None and spec.repeats > 1:
        raise InputError("sample and repeats are both given, but a sample stands for rows that are sent once. Leave one out.")
    if spec.sample is not None and spec.reuse:
        raise InputError(
            "sample and reuse are both given, but a sample measures what answers cost. Reuse it in the run of the table."
        )
    require_limit(spec.max_cost_usd)


@dataclass(frozen=True, slots=True)
class Call:
    """What a call asks for.

    :param source: None when it cannot be read; ``error`` says why.
    :param encoder: compiled for the source; without a source, for the columns that the run was built from.
    """

    spec: RunSpec
    options: BatchOptions
    source: Source | None
    encoder: RequestEncoder
    error: InputError | None = None

    @classmethod
    def of(cls, spec: RunSpec, options: BatchOptions, there: Manifest | None) -> Call:
        """Open the source. Where it cannot be used, the columns of the run that is there let the questions be compared."""
        try:
            source = open_source(
                spec.source,
                locate=spec.locate,
                json_as_text=takes_json_as_text(spec.request),
                columns=columns_named(spec.request, spec.key, *spec.carry),
            )
            encoder = compile_request(spec.request, source.schema, spec.model, spec.locate, options.schema_field)
            return cls(spec, options, source, encoder)
        except (InputError, OSError) as error:
            schema = None if there is None else there.source.arrow_schema()
            if schema is None:
                raise
            wrong = error if isinstance(error, InputError) else InputError(f"The source cannot be read: {error}")
            try:
                encoder = compile_request(spec.request, schema, spec.model, spec.locate, options.schema_field)
            except InputError:
                raise wrong from error
            return cls(spec, options, None, encoder, wrong)

    @property
    def fingerprinter(self) -> Fingerprinter:
        return Fingerprinter(self.spec.model, self.encoder.spec)

    def question(self) -> dict[str, Any]:
        return _question(self.spec.model, self.encoder.spec, self.spec.key, self.spec.carry, self.spec.sample, self.spec.repeats)

    def sampler(self, *, dedupe: bool) -> Sampler | None:
        """Draws the same rows whenever the same is asked of the same table."""
        if self.spec.sample is None:
            return None
        seed = hashlib.sha256(msgspec.json.encode(self.question(), order="deterministic")).digest()[:7]
        return Sampler(self.spec.sample, int.from_bytes(seed, "big"), dedupe=dedupe)

    def manifest(self, source: Source, owner: str | None) -> Manifest:
        return Manifest(
            run_id=secrets.token_hex(8),
            model=self.spec.model,
            source=SourceInfo.of(source.description, source.fingerprint(), source.schema),
            request=self.encoder.spec,
            key=self.spec.key,
            carry=tuple(self.spec.carry),
            shards=(),
            created_at=dt.datetime.now(dt.timezone.utc).isoformat(),
            owner=owner,
            prices=prices_of(self.spec.model, self.options.prices),
            labels=read_labels(self.spec.labels),
            sample=self.spec.sample,
            repeats=self.spec.repeats,
        )


def _question(
    model: str, request: dict[str, Any], key: str | None, carry: Sequence[str], sample: int | None, repeats: int
) -> dict[str, Any]:
    """All that makes a run another run, apart from its rows."""
    asked = {"model": model, "request": request, "key": key, "carry": list(carry), "sample": sample}
    return asked if repeats == 1 else {**asked, "repeats": repeats}


def question_of(there: Manifest) -> dict[str, Any]:
    return _question(there.model, there.request, there.key, there.carry, there.sample, there.repeats)
