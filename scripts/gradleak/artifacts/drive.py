"""Downloads from Google Drive by file id, with bounds on time and size. Interrupted downloads are resumed."""

from __future__ import annotations

import hashlib
import logging
import re
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import requests

from gradleak.artifacts import limits
from gradleak.artifacts import lock as first_use
from gradleak.artifacts.errors import ArtifactError
from gradleak.artifacts.sniff import sniff

TIMEOUT = (15, 60)  # seconds to connect, and between two pieces of the answer
RETRIES = 3
DEADLINE = 1200  # seconds for one file
BY_HAND = (
    "Or download the files in a browser into a folder and use a target with "
    "`source: local, path: <that folder>`."
)

log = logging.getLogger("gradleak")


def fetch(
    file_id: str,
    folder: Path,
    lock: Path,
    limit: int = limits.MAX_FILE,
    timeout=TIMEOUT,
    retries: int = RETRIES,
) -> Path:
    """Download the file to ``folder/<id>``. A file that is there is kept if it has the hash of its first use.

    limit: bytes. lock: the file with the hashes of the first use. Raises ArtifactError with the reason and
    how to download by hand. Parts are kept only where a later run can resume them.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-]{10,100}", file_id):
        raise ArtifactError(
            f"{file_id[:100]!r} is no Drive file id: letters, digits, - and _ are; take it from the link"
        )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / file_id
    if path.exists() and _is_good(path, file_id, lock):
        return path
    path.unlink(missing_ok=True)
    _download(file_id, path, limit, timeout, retries)
    try:
        sniff(path)
        first_use.enforce(lock, file_id, sha256(path))
    except ArtifactError as error:
        path.unlink()
        raise ArtifactError(f"Drive file {file_id} cannot be used: {error}. {BY_HAND}") from None
    return path


def sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _is_good(path: Path, file_id: str, lock: Path) -> bool:
    try:
        sniff(path)
        first_use.enforce(lock, file_id, sha256(path))
    except ArtifactError as error:
        log.info("%s exists and is fetched again: %s", path, error)
        return False
    return True


class _TooLarge(ArtifactError):
    """The file is beyond the limit, so a part of it is of no use."""


class _PartDoesNotFit(ArtifactError):
    """The part that was kept of an earlier attempt does not fit the file."""


def _download(file_id: str, path: Path, limit: int, timeout, retries: int) -> None:
    """Leave the file at ``path``. Raises ArtifactError with the reason."""
    watch = _watch(limit)
    try:
        try:
            _attempt(file_id, path, watch, timeout, retries)
        except _PartDoesNotFit as error:
            log.info("%s: the part of it that was kept cannot be used, starting over: %s", file_id, error)
            _remove_parts(path)
            _attempt(file_id, path, watch, timeout, retries)
    except ArtifactError as error:
        if isinstance(error, _TooLarge):
            _remove_parts(path)
        path.unlink(missing_ok=True)
        reason = str(error).rstrip(".")
        raise ArtifactError(f"Drive file {file_id} could not be fetched ({reason}). {BY_HAND}") from None


def _watch(limit: int) -> Callable[[int, int | None], None]:
    """A callback for the progress of the download that bounds its size and its time."""
    started = time.monotonic()

    def watch(so_far: int, total: int | None) -> None:
        if max(so_far, total or 0) > limit:
            raise _TooLarge(
                f"it is larger than the limit of {limit} bytes, so it is no artifact of such a model"
            )
        if time.monotonic() - started > DEADLINE:
            raise ArtifactError(f"it took more than {DEADLINE} s; run again to resume it")

    return watch


def _attempt(
    file_id: str, path: Path, watch: Callable[[int, int | None], None], timeout, retries: int
) -> None:
    """One call of gdown. Raises ArtifactError with the reason alone."""
    import gdown

    try:
        found = gdown.download(
            id=file_id,
            output=str(path),
            quiet=True,
            use_cookies=False,
            resume=True,
            timeout=timeout,
            retries=retries,
            progress=watch,
        )
    except ArtifactError:
        raise
    except gdown.exceptions.FileURLRetrievalError as error:
        reason = _look(file_id, timeout) or _one_line(error)
    except gdown.exceptions.DownloadError as error:
        # gdown raises the same class for all of these, so its message decides.
        if "byte range" in str(error) or "multiple temporary" in str(error):
            raise _PartDoesNotFit(_one_line(error)) from None
        reason = f"{_one_line(error)} Run again: it is resumed where it stopped"
    except requests.exceptions.HTTPError as error:
        status = error.response.status_code if error.response is not None else None
        if status == 416:
            raise _PartDoesNotFit(_status(status)) from None
        reason = _one_line(error) if status is None else _status(status)
    except (requests.exceptions.ProxyError, requests.exceptions.SSLError) as error:
        reason = f"no secure connection to Drive: {_one_line(error)}"
    except requests.exceptions.Timeout as error:
        reason = f"Drive did not answer in time: {_one_line(error)}"
    except requests.exceptions.RequestException as error:
        reason = f"no connection to Drive: {_one_line(error)}"
    except (KeyError, AssertionError, ValueError, OSError) as error:  # gdown passes these on for odd answers
        reason = f"an answer that is no file: {type(error).__name__} {_one_line(error)}"
    else:
        if found and path.is_file():
            return
        reason = "no file came"
    raise ArtifactError(reason)


def _remove_parts(path: Path) -> None:
    for part in path.parent.glob(f"{path.name}????????.part"):
        part.unlink()


def _look(file_id: str, timeout) -> str:
    """Why no file came, from the page that Drive sends instead, since gdown's error does not have it."""
    try:
        answer = requests.get(f"https://drive.google.com/uc?id={file_id}", timeout=timeout, stream=True)
        text = next(answer.iter_content(1 << 16), b"").decode("utf-8", "replace")
    except requests.exceptions.RequestException:
        return ""
    if answer.status_code >= 400:
        return _status(answer.status_code)
    if "accounts.google" in (urlsplit(answer.url).hostname or "") or "ServiceLogin" in text:
        return "Drive asks to sign in: the file is not shared with everyone with the link; ask its owner"
    if re.search("quota|too many users", text, re.I):
        return "Drive's quota page came: too many people fetched it lately. Try again in a day"
    return "Drive sent a page, not a file: check the id, and that everyone with the link can read it"


def _status(code: int) -> str:
    if code == 404:
        return "404: there is no such file. Check the id"
    if code in (401, 403):
        return f"{code}: Drive refuses it. The file must be shared with everyone with the link"
    return f"Drive answered {code}. Try again later" if code >= 500 else f"Drive answered {code}"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:400] or type(error).__name__
