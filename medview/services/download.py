"""Downloads the reader asks for: resumed where they broke off, believed by their hash alone.

What has arrived lies in the folder as `HASH.part`, its origin as `HASH.json`; a later call goes on
there (RFC 9110, Range and If-Range). Proxies are those of the environment.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import requests
import urllib3

from medview.core.errors import Cancelled, ModelError

#: Told the bytes that are there and those that there will be (0 while unknown).
Progress = Callable[[int, int], object]

_SHA256 = re.compile(r"[0-9a-f]{64}")
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_CHUNK = 1 << 16
_LEAST = 1 << 10


@dataclass(frozen=True)
class Patience:
    """How long a download is waited for, and how much of it is taken.

    Less than a kilobyte within `silence_s` counts as a broken connection; after `attempts` of
    them in a row that brought nothing new it is given up.
    """

    connect_s: float = 15.0
    silence_s: float = 30.0
    attempts: int = 5
    pause_s: float = 1.0
    redirects: int = 5
    max_bytes: int = 16 << 30


class _Broken(Exception):
    """The connection broke off; what came before it is kept."""


def is_url(source: str) -> bool:
    """Whether a source is to be fetched from a server."""
    return source.lower().startswith(("http://", "https://"))


def fetch(
    url: str,
    sha256: str,
    folder: Path,
    *,
    progress: Progress = lambda _now, _all: None,
    cancelled: Callable[[], bool] = lambda: False,
    patience: Patience | None = None,
) -> Path:
    """The file behind a URL, checked, in `folder` under its hash.

    Cancelled when the reader stops it; ModelError with the reason otherwise. What came of a
    broken download stays for the next call, of one with another hash nothing does.
    """
    if not _SHA256.fullmatch(sha256):
        raise ModelError("A download needs the SHA-256 of the file: 64 digits from 0 to f.")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    download = _Download(url, sha256, folder, patience or Patience(), progress, cancelled)
    try:
        return download.run()
    except OSError as error:
        raise ModelError(
            "The download could not be written.", "Is the disk full?", type(error).__name__
        ) from error


class _Download:
    def __init__(
        self,
        url: str,
        sha256: str,
        folder: Path,
        patience: Patience,
        progress: Progress,
        cancelled: Callable[[], bool],
    ) -> None:
        self._url = url
        self._sha256 = sha256
        self._done = folder / sha256
        self._part = folder / f"{sha256}.part"
        self._origin = folder / f"{sha256}.json"
        self._patience = patience
        self._progress = progress
        self._cancelled = cancelled
        self._session = requests.Session()
        self._session.max_redirects = patience.redirects

    def run(self) -> Path:
        """Ask again and again, each time for what is missing."""
        if self._done.is_file() and _hash_of(self._done) == self._sha256:
            return self._done
        failures = 0
        with self._session:
            while True:
                had = self._had()
                try:
                    self._attempt()
                    break
                except _Broken as error:
                    failures = 1 if self._had() > had else failures + 1
                    if failures >= self._patience.attempts:
                        raise ModelError(
                            f"The download broke off: {error}.",
                            "What has come is kept: start it again to go on from there.",
                        ) from error
                    self._pause(failures)
        return self._checked()

    def _had(self) -> int:
        return self._part.stat().st_size if self._part.is_file() else 0

    def _pause(self, failures: int) -> None:
        ends = time.monotonic() + self._patience.pause_s * failures
        while time.monotonic() < ends:
            self._look_for_stop()
            time.sleep(min(0.1, self._patience.pause_s))

    def _look_for_stop(self) -> None:
        if self._cancelled():
            raise Cancelled

    def _attempt(self) -> None:
        """One request; _Broken where it should be made again."""
        self._look_for_stop()
        had, validator = self._had(), self._validator()
        headers = {"Accept-Encoding": "identity", "User-Agent": "medview"}
        if had and validator:
            headers |= {"Range": f"bytes={had}-", "If-Range": validator}
        try:
            response = self._session.get(
                self._url,
                headers=headers,
                stream=True,
                timeout=(self._patience.connect_s, self._patience.silence_s),
            )
        except requests.TooManyRedirects as error:
            raise ModelError("The server sends from one address to the next.") from error
        except (requests.exceptions.InvalidSchema, requests.exceptions.InvalidURL) as error:
            raise ModelError("The address leads to something that is no web server.") from error
        except requests.exceptions.SSLError as error:
            raise ModelError(
                "The server cannot prove that it is who it says.", detail=str(error)
            ) from error
        except requests.RequestException as error:
            raise _Broken(_words(error)) from error
        with response:
            self._refuse_downgrade(response)
            self._take(response, had if "Range" in headers else 0)

    def _refuse_downgrade(self, response: requests.Response) -> None:
        addresses = [one.url for one in (*response.history, response)]
        if addresses[0].startswith("https:") and any(a.startswith("http:") for a in addresses):
            raise ModelError("The server sends to an address without encryption.")

    def _take(self, response: requests.Response, asked_from: int) -> None:
        status = response.status_code
        if status in _PASSING:
            raise _Broken(f"the server answers {status}")
        if status == 416:  # nothing is left to send, or the file has become shorter
            self._part.unlink(missing_ok=True)
            raise _Broken("the file on the server has changed")
        if status not in (200, 206):
            raise ModelError(f"The server has no such file: it answers {status}.")
        start, total = _range_of(response)
        if status == 206 and start != asked_from:
            self._part.unlink(missing_ok=True)
            raise _Broken("the server sent another part than was asked for")
        if total > self._patience.max_bytes:
            self._give_up_too_large()
        self._keep_origin(response)
        with self._part.open("ab" if status == 206 else "wb") as file:
            self._copy(response.raw, file, start, total)

    def _copy(self, body: Any, file: BinaryIO, now: int, total: int) -> None:
        """Write what arrives at once, so that a break costs nothing of it."""
        window, since = time.monotonic(), 0
        while True:
            self._look_for_stop()
            try:
                chunk = body.read1(_CHUNK)
            except (urllib3.exceptions.HTTPError, OSError) as error:
                raise _Broken(_words(error)) from error
            if not chunk:
                break
            file.write(chunk)
            now, since = now + len(chunk), since + len(chunk)
            if now > self._patience.max_bytes or (total and now > total):
                file.close()
                self._give_up_too_large()
            self._progress(now, total)
            if time.monotonic() - window > self._patience.silence_s:
                if since < _LEAST:
                    raise _Broken("it hardly moves")
                window, since = time.monotonic(), 0
        if now < total:
            raise _Broken(f"{total - now:,} bytes are missing")

    def _give_up_too_large(self) -> None:
        self._forget()
        limit = self._patience.max_bytes / (1 << 30)
        raise ModelError(f"The file is larger than it should be, or than {limit:g} GiB.")

    def _validator(self) -> str:
        """What the server called the file that the part is of; "" if that is not known."""
        try:
            origin = json.loads(self._origin.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return ""
        same = isinstance(origin, dict) and origin.get("url") == self._url
        return str(origin.get("validator", "")) if same else ""

    def _keep_origin(self, response: requests.Response) -> None:
        tag = response.headers.get("ETag", "")
        strong = tag if tag and not tag.startswith("W/") else ""
        validator = strong or response.headers.get("Last-Modified", "")
        content = json.dumps({"url": self._url, "validator": validator})
        self._origin.write_text(content, encoding="utf-8")

    def _checked(self) -> Path:
        found = _hash_of(self._part)
        if found != self._sha256:
            self._forget()
            raise ModelError(
                "The file on the server is not the one with this SHA-256.",
                "Ask those who publish it for the right one. Nothing of it was kept.",
                f"expected {self._sha256}, found {found}",
            )
        self._part.replace(self._done)
        self._origin.unlink(missing_ok=True)
        return self._done

    def _forget(self) -> None:
        self._part.unlink(missing_ok=True)
        self._origin.unlink(missing_ok=True)


def _range_of(response: requests.Response) -> tuple[int, int]:
    """First byte and total length of what comes; 0 for an unknown total."""
    if response.status_code == 206:
        stated = re.fullmatch(
            r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", "")
        )
        if stated is None:
            return -1, 0
        return int(stated[1]), 0 if stated[2] == "*" else int(stated[2])
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if length.isdigit() else 0


def _hash_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _words(error: Exception) -> str:
    """A broken connection in the reader's words."""
    text = repr(error)
    if "Timeout" in text or "timed out" in text:
        return "the server is silent"
    if "NameResolution" in text or "getaddrinfo" in text:
        return "the name of the server is not known"
    if "ProxyError" in text:
        return "the proxy does not let it through"
    return "the connection was lost"
