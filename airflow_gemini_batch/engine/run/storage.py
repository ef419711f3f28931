"""A location on a file system or object store, and the few whole-file operations that the run relies on.

Two invariants: a write is whole or absent, and "cannot be read" is never reported as "is not there".
Locally a write goes to a temporary file, is flushed to disk and renamed; on an object store it is one upload
that becomes visible when it is complete.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import errno
import hashlib
import logging
import os
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import fsspec
from fsspec.dircache import DirCache
from fsspec.implementations.local import LocalFileSystem
from pyarrow import fs as arrow_fs

from airflow_gemini_batch.engine.errors import DestinationError, InputError

log = logging.getLogger(__name__)

#: Large enough to keep a 2 GB upload to few system calls, small enough not to show in the memory figures.
BLOCK_BYTES = 1 << 20

#: Stores where an object becomes visible when its upload is complete, and not before. Elsewhere a rename does that.
_OBJECT_STORES = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl"})


@dataclass(frozen=True, slots=True)
class Location:
    """A file or folder.

    :param fs: the fsspec file system.
    :param path: the path in that file system's own form, without a trailing slash.
    :param uri: the same location as the user wrote it, for messages and references.
    """

    fs: fsspec.AbstractFileSystem
    path: str
    uri: str

    def __truediv__(self, name: str) -> Location:
        return Location(self.fs, f"{self.path}/{name}", f"{self.uri}/{name}")

    def __str__(self) -> str:
        return self.uri

    @property
    def name(self) -> str:
        return self.path.rsplit("/", 1)[-1]

    @property
    def parent(self) -> Location:
        return Location(self.fs, self.path.rpartition("/")[0], self.uri.rpartition("/")[0])

    @property
    def is_local(self) -> bool:
        return isinstance(self.fs, LocalFileSystem)

    @property
    def arrow_fs(self) -> arrow_fs.FileSystem:
        """The same file system for pyarrow, natively where it is local."""
        if self.is_local:
            return arrow_fs.LocalFileSystem()
        return arrow_fs.PyFileSystem(arrow_fs.FSSpecHandler(self.fs))

    def exists(self) -> bool:
        # Not fs.exists(): fsspec's answers False to every exception, also to a refused or failed connection.
        self._forget()
        try:
            self.fs.info(self.path)
        except FileNotFoundError:
            return False
        return True

    def size(self) -> int:
        """Bytes. Raises FileNotFoundError when there is no such file."""
        self._forget()
        return int(self.fs.info(self.path)["size"])

    def read(self) -> bytes:
        """The whole content. Raises FileNotFoundError when, and only when, there is no such file."""
        with self.open() as file:
            return file.read()

    def open(self) -> BinaryIO:
        if self.is_local:
            return open(self.path, "rb")
        self._forget()
        return cast(BinaryIO, self.fs.open(self.path, "rb"))

    def sha256(self) -> str:
        digest = hashlib.sha256()
        with self.open() as file:
            while block := file.read(BLOCK_BYTES):
                digest.update(block)
        return digest.hexdigest()

    def write(self, data: bytes) -> None:
        """Put ``data`` there, whole or not at all, over whatever was there."""
        with self.writing() as file:
            file.write(data)

    @contextlib.contextmanager
    def writing(self) -> Iterator[IO[bytes]]:
        """A file that appears under its name when the block ends well, and not at all when it does not."""
        with self._explained():
            if self.is_local:
                with self._temporary() as temporary:
                    with open(temporary, "wb") as file:
                        yield file
                        _flush(file)
                    self._publish(temporary)
            else:
                target = self if self._put_is_atomic else self._hidden()
                file = self.fs.open(target.path, "wb")
                try:
                    yield file
                except BaseException:
                    # close() would publish what was written so far.
                    file.discard()
                    if target is self:
                        file.closed = True  # nothing is left to flush when the object is collected
                    else:
                        file.close()
                        target.delete()
                    raise
                file.close()
                if target is not self:
                    self.fs.mv(target.path, self.path)

    @contextlib.contextmanager
    def receiving(self) -> Iterator[Path]:
        """A local path for a program that writes files itself; the file arrives here when the block ends well."""
        with self._explained():
            if self.is_local:
                with self._temporary() as temporary:
                    yield Path(temporary)
                    with open(temporary, "rb") as file:
                        os.fsync(file.fileno())
                    self._publish(temporary)
            else:
                with tempfile.TemporaryDirectory(prefix="gemini-batch-") as folder:
                    local = Path(folder) / self.name
                    yield local
                    self.fs.put_file(str(local), self.path)

    @contextlib.contextmanager
    def local_copy(self) -> Iterator[Path]:
        """The file as a local path: itself where it is local, else a copy that lives as long as the block."""
        if self.is_local:
            yield Path(self.path)
            return
        with tempfile.TemporaryDirectory(prefix="gemini-batch-") as folder:
            local = Path(folder) / self.name
            self.fs.get_file(self.path, str(local))
            yield local

    def create(self, data: bytes) -> bool:
        """Put ``data`` there unless something is there already; True when it was this call that did it.

        Atomic on local disks (link) and on stores whose fsspec file system honours ``mode="create"`` (s3fs, gcsfs, adlfs:
        a conditional PUT). Elsewhere the look and the write are two steps.
        """
        with self._explained():
            if self.is_local:
                with self._temporary() as temporary:
                    with open(temporary, "wb") as file:
                        file.write(data)
                        _flush(file)
                    return self._claim(temporary, data)
            self._forget()
            try:
                self.fs.pipe_file(self.path, data, mode="create")
            except FileExistsError:
                return False
            except TypeError:  # a file system that does not know the mode
                if self.exists():
                    return False
                self.write(data)
            return True

    def creates_exclusively(self) -> bool:
        """Whether of two ``create`` at once only one can succeed: tried with a file in this folder, which is deleted again."""
        probe = self / f"probe-{uuid.uuid4().hex[:8]}"
        try:
            if self.is_local:
                return probe.create(b"") and not probe.create(b"")
            probe.write(b"")
            self.fs.pipe_file(probe.path, b"", mode="create")
        except FileExistsError:
            return True
        except TypeError:  # a file system that does not know the mode
            return False
        else:
            return False
        finally:
            probe.delete()

    def delete(self) -> None:
        """Remove the file or the folder with all that is in it; no error when there is nothing."""
        with contextlib.suppress(FileNotFoundError):
            self.fs.rm(self.path, recursive=True)

    def require_writable(self) -> None:
        """Write a small file into this folder and delete it again.

        Raises DestinationError when that cannot succeed without a person: no such bucket, no permission, a full disk. Any other
        error of the storage is raised as it is, after one line that says what was tried.
        """
        probe = self / "probe"
        try:
            probe.write(b"Written to check that this folder can be written to. It may be deleted.\n")
        except DestinationError:
            raise
        except FileNotFoundError as error:
            raise DestinationError(
                f"Cannot write {self.uri}: {error}. The bucket, container or folder does not exist, or these credentials cannot "
                "see it: create it, correct the URI, or choose another destination."
            ) from error
        except Exception:
            log.error("Cannot write %s. Check the storage, its credentials and the URI of the destination.", self.uri)
            raise
        try:
            probe.delete()
        except Exception as error:  # a store that keeps what was written is good enough for a run
            log.info("%s cannot be deleted: %s", probe, error)

    def children(self) -> list[Location]:
        """The files and folders directly below, by name; empty when the folder does not exist."""
        self._forget()
        try:
            paths: list[Any] = self.fs.ls(self.path, detail=False)
        except FileNotFoundError:
            return []
        finally:
            self._forget()
        names = sorted({str(path).rstrip("/").rsplit("/", 1)[-1] for path in paths} - {self.name, ""})
        return [self / name for name in names]

    def times(self) -> dict[str, float | None]:
        """The files directly below, by name, and when each was written, in seconds since the epoch; None where the store does
        not say. Empty when the folder does not exist."""
        self._forget()
        try:
            found: list[Any] = self.fs.ls(self.path, detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        finally:
            self._forget()
        return {str(entry["name"]).rsplit("/", 1)[-1]: _written_at(entry) for entry in found if entry["type"] == "file"}

    def folders(self) -> list[Location]:
        """The folders directly below, by name; empty when this one does not exist."""
        self._forget()
        try:
            found: list[Any] = self.fs.ls(self.path, detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return []
        finally:
            self._forget()
        paths = [str(entry["name"]).rstrip("/") for entry in found if entry["type"] == "directory"]
        return [self / name for name in sorted({path.rsplit("/", 1)[-1] for path in paths if path != self.path} - {""})]

    def _forget(self) -> None:
        """Make the file system look again: it keeps listings, in which what another worker has just written does not exist.

        It is told to keep none, because one that another thread makes would be found right after this.
        """
        if isinstance(cache := getattr(self.fs, "dircache", None), DirCache):
            cache.use_listings_cache = False
        for path in (self.path, self.path.rpartition("/")[0]):
            with contextlib.suppress(KeyError):  # from fsspec, where another thread has forgotten the same at this moment
                self.fs.invalidate_cache(path)

    def _claim(self, temporary: str, data: bytes) -> bool:
        try:
            try:
                os.link(temporary, self.path)
            except OSError as error:
                if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EMLINK):
                    raise
                # No hard links on this file system (FAT, some FUSE mounts): still exclusive, but a crash can leave it torn.
                with open(self.path, "xb") as file:
                    file.write(data)
                    _flush(file)
        except FileExistsError:
            return False
        self._sync_folder()
        return True

    @property
    def _put_is_atomic(self) -> bool:
        protocols = (self.fs.protocol,) if isinstance(self.fs.protocol, str) else self.fs.protocol
        return not _OBJECT_STORES.isdisjoint(protocols)

    def _hidden(self) -> Location:
        """A name beside this one that no other try uses, and that readers of tables skip: it begins with a dot."""
        hidden = f"._{self.name}.{uuid.uuid4().hex[:8]}.tmp"
        return Location(self.fs, self.path.removesuffix(self.name) + hidden, self.uri.removesuffix(self.name) + hidden)

    @contextlib.contextmanager
    def _temporary(self) -> Iterator[str]:
        """A local path that no other process uses, on the same file system; what remains there is removed."""
        hidden = self._hidden().path
        os.makedirs(os.path.dirname(hidden), exist_ok=True)
        try:
            yield hidden
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(hidden)

    def _publish(self, temporary: str) -> None:
        os.replace(temporary, self.path)
        self._sync_folder()

    def _sync_folder(self) -> None:
        """Make the rename itself durable: without this a power cut may undo it."""
        folder = os.open(os.path.dirname(self.path), os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            remedy = _WRITE_REMEDIES.get(error.errno or 0)
            if remedy is None and not isinstance(error, PermissionError):
                raise
            raise DestinationError(
                f"Cannot write {self.uri}: {error.strerror or error}. {remedy or _WRITE_REMEDIES[errno.EACCES]} "
                "What is already there is intact; run the same again to go on."
            ) from error


def _written_at(entry: Mapping[str, Any]) -> float | None:
    """The time of an entry in a listing, under the name that its file system has for it."""
    for name in ("mtime", "LastModified", "last_modified", "updated", "modified", "created"):
        value = entry.get(name)
        if isinstance(value, str):
            with contextlib.suppress(ValueError):
                value = dt.datetime.fromisoformat(value.replace("Z", "+00:00"))
        if isinstance(value, dt.datetime):
            return value.timestamp()
        if isinstance(value, (int, float)):
            return float(value)
    return None


def _flush(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


_WRITE_REMEDIES = {
    errno.ENOSPC: "Free space there or choose another destination.",
    errno.EDQUOT: "The quota of that file system is used up: free space there or choose another destination.",
    errno.EACCES: "Give this process write access there or choose another destination.",
    errno.EPERM: "Give this process write access there or choose another destination.",
    errno.EROFS: "That file system is read-only: choose another destination.",
    errno.ENOTDIR: "A part of that path is a file, not a folder: choose another destination.",
}


class UnknownSchemeError(InputError, ValueError):
    """No file system has this scheme. A ValueError too: where the URI is a row's value, it is that row's problem."""


def locate(uri: str | os.PathLike[str], **storage_options: Any) -> Location:
    """Find the file system for a URI or local path.

    :param uri: a local path, ``file://``, ``s3://``, ``gs://`` or anything else that fsspec opens.
    :param storage_options: passed to the fsspec file system.

    Raises InputError for a scheme whose package is not installed, and UnknownSchemeError, a subclass, for one that nothing opens.
    """
    text = os.fspath(uri)
    try:
        fs, path = fsspec.core.url_to_fs(text, **storage_options)
    except ValueError as error:
        raise UnknownSchemeError(f"No installed package opens {text}: {error}") from error
    except ImportError as error:
        raise InputError(f"No installed package opens {text}: {error}") from error
    return Location(fs, str(path).rstrip("/") or "/", text.rstrip("/"))
