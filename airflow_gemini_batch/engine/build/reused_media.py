"""Media of reused results that lie in files: copied, so that the earlier run may go once the new one is built."""

from __future__ import annotations

import shutil

import pyarrow as pa

from airflow_gemini_batch.engine.run.layout import ReusedPart, Run
from airflow_gemini_batch.engine.run.storage import BLOCK_BYTES


class MediaCopier:
    """Copies the files of one part of reused results."""

    def __init__(self, run: Run, part: ReusedPart) -> None:
        self._run = run
        self._folder = run.reused_media_folder(part.id)
        self._files = 0

    def copied(self, media: pa.Array) -> pa.Array:
        """The ``media`` column with the URIs of the copies; as it is where it holds the media themselves."""
        if media.type.value_type.get_field_index("uri") < 0:
            return media
        rows = media.to_pylist()
        for row in rows:
            for medium in row or ():
                medium["uri"] = self._copy(medium["uri"])
        return pa.array(rows, media.type)

    def _copy(self, uri: str) -> str:
        name = uri.rsplit("/", 1)[-1]
        target = self._folder / f"{self._files:07d}-{name}"
        self._files += 1
        with self._run.locate(uri).open() as source, target.writing() as file:
            shutil.copyfileobj(source, file, BLOCK_BYTES)
        return target.uri
