"""Google Drive by file id: bounded in time and size, resumed where it broke off, and never a web page taken for data."""

from __future__ import annotations

import hashlib
import logging
import re
import time
from pathlib import Path
from urllib.parse import urlsplit

from gradleak.artifacts import limits
from gradleak.artifacts import lock as first_use
from gradleak.artifacts.errors import ArtifactError
from gradleak.artifacts.sniff import sniff

TIMEOUT = (15, 60)  # seconds to connect, and between two pieces of the answer
RETRIES = 3
DEADLINE = 1200  # seconds for one file
BY_HAND = "Or download the files in a browser into a folder and use a target with `source: local, path: <that folder>`."

log = logging.getLogger("gradleak")


def fetch(
    file_id: str,
    folder: Path,
    lock: Path,
    limit: int = limits.MAX_FILE,
    timeout=TIMEOUT,
    retries: int = RETRIES,
) -> Path:
    """The file, as ``folder/<id>``. One that is already there is kept if it is an artifact and the one first used.

    limit: bytes. Raises ArtifactError with the reason and the way by hand; what came so far is kept where a later run
    can resume it, and only there.
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
        log.info("%s was there and is fetched again: %s", path, error)
        return False
    return True


def _download(file_id: str, path: Path, limit: int, timeout, retries: int) -> None:
    import gdown
    import requests

    started = time.monotonic()

    def watch(so_far: int, total: int | None) -> None:
        if max(so_far, total or 0) > limit:
            raise ArtifactError(
                f"it is larger than the limit of {limit} bytes, so it is no artifact of such a model"
            )
        if time.monotonic() - started > DEADLINE:
            raise ArtifactError(f"it took more than {DEADLINE} s; run again to resume it")

    for fresh in (False, True):
        if fresh:
            _forget(path)
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
            if found and path.is_file():
                return
            reason = "no file came"
        except ArtifactError as error:
            if "larger" in str(error):
                _forget(path)
            reason = str(error)
        except gdown.exceptions.FileURLRetrievalError as error:
            reason = _look(file_id, timeout) or _one_line(error)
        except gdown.exceptions.DownloadError as error:
            if ("byte range" in str(error) or "multiple temporary" in str(error)) and not fresh:
                log.info(
                    "%s: what was there of it is of no use, starting over: %s", file_id, _one_line(error)
                )
                continue
            reason = f"{_one_line(error)} Run again: it is resumed where it broke off"
        except requests.exceptions.HTTPError as error:
            if error.response is not None and error.response.status_code == 416 and not fresh:
                continue
            reason = _status(error.response.status_code) if error.response is not None else _one_line(error)
        except (requests.exceptions.ProxyError, requests.exceptions.SSLError) as error:
            reason = f"no secure connection to Drive: {_one_line(error)}"
        except requests.exceptions.Timeout as error:
            reason = f"Drive did not answer in time: {_one_line(error)}"
        except requests.exceptions.RequestException as error:
            reason = f"no connection to Drive: {_one_line(error)}"
        except (
            KeyError,
            AssertionError,
            ValueError,
            OSError,
        ) as error:  # what gdown lets through of odd answers
            reason = f"an answer that is no file: {type(error).__name__} {_one_line(error)}"
        path.unlink(missing_ok=True)
        raise ArtifactError(f"Drive file {file_id} could not be fetched ({reason.rstrip('.')}). {BY_HAND}")


def _forget(path: Path) -> None:
    for part in path.parent.glob(f"{path.name}????????.part"):
        part.unlink()


def _look(file_id: str, timeout) -> str:
    """Why no file came, by asking once more and looking at the answer itself: gdown's own words do not tell."""
    import requests

    try:
        answer = requests.get(f"https://drive.google.com/uc?id={file_id}", timeout=timeout, stream=True)
        text = next(answer.iter_content(1 << 16), b"").decode("utf-8", "replace")
    except requests.exceptions.RequestException:
        return ""
    if answer.status_code >= 400:
        return _status(answer.status_code)
    if "accounts.google" in (urlsplit(answer.url).hostname or "") or "ServiceLogin" in text:
        return "Drive asks to sign in: the file is not shared with anyone who has the link. Ask its owner to share it so"
    if re.search("quota|too many users", text, re.I):
        return "Drive's quota page came: too many people fetched it lately. Try again in a day"
    return "Drive sent a page and no file: check the id, and that the file is shared with anyone who has the link"


def _status(code: int) -> str:
    if code == 404:
        return "404: there is no such file. Check the id"
    if code in (401, 403):
        return f"{code}: Drive refuses it. The file must be shared with anyone who has the link"
    return f"Drive answered {code}. Try again later" if code >= 500 else f"Drive answered {code}"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:400] or type(error).__name__
