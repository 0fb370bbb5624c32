"""Model files and checkpoints in the safetensors format, written so that no crash leaves half a file.

The format (github.com/huggingface/safetensors, README): eight bytes little-endian length of a JSON header,
the header, then the arrays one after the other in C order, little-endian, without gaps. The header maps each
name to dtype, shape and the two byte offsets within the arrays' part; "__metadata__" maps strings to strings.
Reading executes nothing and allocates nothing beyond the size of the file.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None  # type: ignore[assignment]

import numpy as np
from numpy.typing import NDArray

from rae_fast._messages import shown

Arrays = dict[str, NDArray[Any]]
FilePath = str | os.PathLike[str]

_NAMES = {"F64": "<f8", "F32": "<f4", "I64": "<i8", "U8": "|u1"}
_CODES = {value: key for key, value in _NAMES.items()}
# Ours are a few kilobytes; JSON can take fifty times its size in memory.
_MOST_HEADER = 1 << 20
# Characters; systems take 4096 bytes or fewer.
_MOST_PATH = 4096


def write(path: FilePath, arrays: Arrays, metadata: dict[str, str]) -> None:
    """Write a safetensors file of arrays of float64, float32, int64 or uint8, as `replace` does."""
    header: dict[str, Any] = {"__metadata__": metadata}
    stored, offset = [], 0
    for name, array in arrays.items():
        array = np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")
        header[name] = {"dtype": _CODES[array.dtype.str], "shape": list(array.shape),
                        "data_offsets": [offset, offset + array.nbytes]}
        stored.append(array)
        offset += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # keeps the arrays aligned
    if len(text) > _MOST_HEADER:
        raise ValueError(f"the settings take {len(text)} bytes, more than the {_MOST_HEADER} of a model file's header")
    replace(path, [len(text).to_bytes(8, "little") + text,
                   *(array.reshape(-1).data.cast("B") for array in stored if array.size)])


def replace(path: FilePath, content: Iterable[Any]) -> None:
    """Write pieces of bytes so that at any moment `path` is what it was before or the whole new file.

    The new file is written beside it under a name of its own, flushed to the disk, then renamed. A link is followed,
    and its target replaced. A file that was there keeps its permissions, and its owner where that is allowed; other
    names of it (hard links) keep the old content. ValueError if something else than a regular file stands there.
    """
    standing = check_target(path)
    target = Path(os.path.realpath(path))
    with _naming(path):
        _sweep(target)
        with _beside(target, 0o666 if standing is None else 0o600) as (file, part):
            for piece in content:
                file.write(piece)
            file.flush()
            _sync(file.fileno())
            if standing is not None:
                _take_over(file.fileno(), standing)
            os.replace(part, target)
    # The file is whole; whether its name survives a power failure is up to the file system, which may not say.
    with contextlib.suppress(OSError):
        directory = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def check_target(path: FilePath) -> os.stat_result | None:
    """What stands where a file is to be written, None for nothing; ValueError for all but a regular file."""
    try:
        found = os.stat(checked(path))
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(found.st_mode):
        raise ValueError(f"{os.fspath(path)} is {_kind(found.st_mode)}, not a regular file, and is left as it is; "
                         "save to another path")
    return found


def _kind(mode: int) -> str:
    kinds = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a FIFO"), (stat.S_ISSOCK, "a socket"),
             (stat.S_ISCHR, "a device"), (stat.S_ISBLK, "a device"))
    return next((name for test, name in kinds if test(mode)), "something else")


@contextlib.contextmanager
def _naming(path: FilePath) -> Iterator[None]:
    """Errors of the system name the user's path, not the one that is written first."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, os.fspath(path)) from None


def _prefix(target: Path) -> str:
    """What names of unfinished files for a target begin with: short, whatever the target is called."""
    return f".{hashlib.sha256(os.fsencode(target.name)).hexdigest()[:12]}."


@contextlib.contextmanager
def _beside(target: Path, mode: int) -> Iterator[tuple[Any, Path]]:
    """A new file in the target's folder, and its path. It is locked for as long as it is written, and gone afterwards
    unless it was renamed."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    while True:
        # Nobody else's: neither another writer's of the same target nor a link that someone has laid out.
        part = target.with_name(f"{_prefix(target)}{secrets.token_hex(8)}.part")
        with open(part, "wb", opener=lambda name, _: os.open(name, flags, mode)) as file:
            try:
                # A sweeper may have locked it first, and is about to remove it, or has removed it.
                if not _lock(file.fileno(), held=True) or not _is_still(part, file.fileno()):
                    continue
                yield file, part
                return
            finally:
                part.unlink(missing_ok=True)


def _lock(descriptor: int, held: bool = False) -> bool:
    """Whether the file is now locked by this writer; where there are no locks, which some file systems do not know,
    what `held` says."""
    if fcntl is None:
        return held
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return held
    return True


def _is_still(path: Path, descriptor: int) -> bool:
    """Whether the path names the open file."""
    try:
        there, here = os.stat(path, follow_symlinks=False), os.fstat(descriptor)
    except FileNotFoundError:
        return False
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)


def _sweep(target: Path) -> None:
    """Remove what killed writers of the target have left: files of its prefix, our own, that nobody has locked."""
    with contextlib.suppress(OSError):
        with os.scandir(target.parent) as entries:
            left = [entry.path for entry in entries
                    if entry.name.startswith(_prefix(target)) and entry.name.endswith(".part")]
        for part in left:
            with contextlib.suppress(OSError):
                descriptor = os.open(part, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
                try:
                    found = os.fstat(descriptor)
                    if stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and _lock(descriptor):
                        os.unlink(part)
                finally:
                    os.close(descriptor)


def _sync(descriptor: int) -> None:
    """Flush a file to the disk, where the file system knows how to."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
            raise


def _take_over(descriptor: int, standing: os.stat_result) -> None:
    """Give a new file the owner, where that is allowed, and the permissions of the one that it replaces."""
    mode = stat.S_IMODE(standing.st_mode) & 0o777
    try:
        os.fchown(descriptor, standing.st_uid, standing.st_gid)
    except OSError:
        try:
            os.fchown(descriptor, -1, standing.st_gid)
        except OSError:
            mode &= ~0o070 | (mode & 0o007) << 3  # to another group no more than to everybody
    with contextlib.suppress(OSError):  # file systems without permissions; the file then stays as private as it began
        os.fchmod(descriptor, mode)


def read(path: FilePath) -> tuple[Arrays, dict[str, str]]:
    """The arrays and the metadata of a safetensors file.

    Raises
    ------
    ValueError
        If the file is truncated, has anything but exactly the arrays its header describes, or is not a
        safetensors file of float64, float32 and int64 arrays at all.
    """
    with open(checked(path), "rb", opener=_open_regular) as file:
        size = os.fstat(file.fileno()).st_size
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(size - 8, _MOST_HEADER):
            raise bad(path, "its header does not fit")
        header = parse_json(path, file.read(length))
        metadata = header.pop("__metadata__", {})
        if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
            raise bad(path, "its metadata are not strings")
        arrays: Arrays = {}
        end = 0
        # Other writers name the arrays in another order than they lie in.
        for name, entry in sorted(header.items(), key=lambda item: _place(path, *item)):
            dtype, shape, end = _checked_entry(path, name, entry, end, size - 8 - length)
            values = np.empty(shape, dtype)  # np.fromfile turns a Ctrl-C that comes in the midst of it into a TypeError
            if file.readinto(values.reshape(-1).view(np.uint8).data) < values.nbytes:
                raise bad(path, "it became shorter while it was read")
            arrays[name] = values.astype(dtype.newbyteorder("="))
        if end != size - 8 - length:
            raise bad(path, f"{size - 8 - length - end} bytes follow the last array")
    return arrays, metadata


def _open_regular(path: str, flags: int) -> int:
    """open() for regular files: a FIFO would wait for a writer, and a device may do anything."""
    with _naming(path):
        found = os.stat(path)
        if stat.S_ISREG(found.st_mode):
            descriptor = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
            found = os.fstat(descriptor)  # it may have been replaced meanwhile
            if stat.S_ISREG(found.st_mode):
                return descriptor
            os.close(descriptor)
    raise bad(path, f"it is {_kind(found.st_mode)}, not a regular file")


def _place(path: FilePath, name: str, entry: Any) -> list[int]:
    """Where an array lies, of an entry that has all that one has."""
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise bad(path, f"the entry of {name!r} is not one of an array")
    for numbers in (entry["shape"], entry["data_offsets"]):
        if not isinstance(numbers, list) or not all(type(n) is int and 0 <= n < 2**63 for n in numbers):
            raise bad(path, f"the shape or offsets of {name!r} are not counts")
    return list(entry["data_offsets"])


def _checked_entry(path: FilePath, name: str, entry: Any, end: int,
                   available: int) -> tuple[np.dtype[Any], tuple[int, ...], int]:
    """dtype, shape and end of an array that must start at `end` and stay within the file."""
    shape, offsets = entry["shape"], entry["data_offsets"]
    if not isinstance(entry["dtype"], str) or entry["dtype"] not in _NAMES:
        raise bad(path, f"{name!r} has the dtype {entry['dtype']!r}; F64, F32, I64 and U8 are supported")
    dtype = np.dtype(_NAMES[entry["dtype"]])
    if len(shape) > 8 or offsets != [end, end + math.prod(shape) * dtype.itemsize] or offsets[1] > available:
        raise bad(path, f"{name!r} does not lie where its shape and the other arrays put it")
    return dtype, tuple(shape), offsets[1]


def parse_json(path: FilePath, text: bytes | str) -> dict[str, Any]:
    """A JSON object without repeated names or numbers that are none."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) < len(pairs):
            raise ValueError("a name occurs twice")
        return dict(pairs)

    try:
        value = json.loads(text, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise bad(path, f"its JSON cannot be read ({error})") from None
    if not isinstance(value, dict):
        raise bad(path, "its JSON is not an object")
    return value


def checked(path: Any) -> FilePath:
    """path, or a ValueError where it cannot name a file: open() takes numbers for descriptors, for instance."""
    text = os.fspath(path) if isinstance(path, (str, os.PathLike)) else None
    if not isinstance(text, str) or not text or "\0" in text:
        raise ValueError(f"a path is needed, a string or path-like; got {shown(path)}")
    if len(text) > _MOST_PATH:
        raise ValueError(f"a path of {len(text)} characters is longer than any file's: {shown(path)}")
    return text


def bad(path: FilePath, why: str) -> ValueError:
    """The error for a file that is not what it should be: one line, whatever the file has put into it."""
    why = " ".join(why.split())
    return ValueError(f"{os.fspath(path)} is not a whole rae_fast model file: {why[:300]}")
