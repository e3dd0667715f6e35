"""Where data files are: the folder of $ZOO_DATA_DIR, else the platform's cache folder."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from platformdirs import user_cache_path


class DataMissing(FileNotFoundError):
    """Files are neither there nor to be had; the message says which, where and how to get them."""


def cache_dir() -> Path:
    """The writable folder for downloads and processed copies, apart from the data folder."""
    return Path(os.environ.get("ZOO_CACHE_DIR") or user_cache_path("paperzoo"))


def data_dir() -> Path:
    """The folder that is searched first; it may be read-only."""
    return Path(os.environ.get("ZOO_DATA_DIR") or cache_dir())


def root_of(files: Sequence[str]) -> Path | None:
    """The first of the data and the cache folder that holds all the files (paths relative to it)."""
    roots = (data_dir(), cache_dir())
    return next((root for root in roots if all((root / file).is_file() for file in files)), None)


@contextmanager
def _bounded_waits(seconds: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def provide(what: str, files: Sequence[str], download: Callable[[Path], object], remedy: str) -> Path:
    """The folder that holds the files, after a download into it if need be.

    download(root) puts the files below root and checks their sums. Raises DataMissing naming the folder, the
    files and the remedy where that fails.
    """
    if found := root_of(files):
        return found
    root = data_dir() if os.access(data_dir(), os.W_OK) else cache_dir()
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _bounded_waits(20.0):
            download(root)
    except Exception as error:  # whatever a loader raises, the user needs the same remedy
        listed = ", ".join(files)
        raise DataMissing(
            f"{what}: no {listed} in {data_dir()} (set by --data-dir or ZOO_DATA_DIR), and the download failed "
            f"({type(error).__name__}: {error}); {remedy}"
        ) from error
    if not root_of(files):
        raise DataMissing(f"{what}: the download left no {', '.join(files)} in {root}; {remedy}")
    return root
