"""Downloads against a real server on this machine: drops, lies, silence, and going on."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from medview.core.errors import Cancelled, ModelError
from medview.services.download import Patience, fetch
from tests.helpers.web_server import serving

CONTENT = hashlib.shake_128(b"any file").digest(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
QUICK = Patience(connect_s=2, silence_s=0.6, attempts=3, pause_s=0.01, max_bytes=1 << 20)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)


def get(url: str, folder: Path, **more: Any) -> bytes:
    return fetch(url, SHA256, folder, patience=more.pop("patience", QUICK), **more).read_bytes()


def left(folder: Path) -> list[str]:
    return sorted(path.suffix for path in folder.iterdir())


def test_a_file_arrives_whole_and_is_not_asked_for_twice(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    with serving(CONTENT) as served:
        assert get(served.url, tmp_path, progress=lambda *now: told.append(now)) == CONTENT
        assert get(served.url, tmp_path) == CONTENT
    assert len(served.asked) == 1
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert [now for now, _ in told] == sorted(now for now, _ in told)


def test_drops_in_the_middle_are_gone_on_from(tmp_path: Path) -> None:
    with serving(CONTENT, drops=[100_000, 50_000]) as served:
        assert get(served.url, tmp_path) == CONTENT
    assert [wanted for _, wanted in served.asked] == ["", "bytes=100000-", "bytes=150000-"]


def test_a_server_without_ranges_is_asked_from_the_start(tmp_path: Path) -> None:
    with serving(CONTENT, drops=[100_000], ranges=False) as served:
        assert get(served.url, tmp_path) == CONTENT
    assert len(served.asked) == 2


def test_a_later_call_goes_on_where_the_earlier_gave_up(tmp_path: Path) -> None:
    with serving(CONTENT, drops=[70_000, 0, 0, 0]) as served:
        with pytest.raises(ModelError, match="broke off"):
            get(served.url, tmp_path)
        served.how["drops"] = []
        asked = len(served.asked)
        assert get(served.url, tmp_path) == CONTENT
    assert [wanted for _, wanted in served.asked[asked:]] == ["bytes=70000-"]


def test_a_file_that_changed_on_the_server_is_not_pieced_together(tmp_path: Path) -> None:
    other = CONTENT[::-1]
    with serving(other, drops=[70_000, 0, 0, 0], etag='"old"') as served:
        with pytest.raises(ModelError):
            get(served.url, tmp_path)
        served.content, served.how["etag"], served.how["drops"] = CONTENT, '"new"', []
        assert get(served.url, tmp_path) == CONTENT


def test_another_part_than_asked_for_is_not_believed(tmp_path: Path) -> None:
    with serving(CONTENT, drops=[70_000], wrong_range=True) as served:
        assert get(served.url, tmp_path) == CONTENT
    assert served.asked[-1][1] == ""


@pytest.mark.parametrize("how", [{}, {"chunked": True}])
def test_a_wrong_hash_leaves_nothing(tmp_path: Path, how: dict[str, Any]) -> None:
    with (
        serving(CONTENT[:-1] + b"?", **how) as served,
        pytest.raises(ModelError, match="SHA-256"),
    ):
        get(served.url, tmp_path)
    assert left(tmp_path) == []


def test_bytes_beyond_the_stated_length_do_not_arrive(tmp_path: Path) -> None:
    with serving(CONTENT, extra=5000) as served:
        assert get(served.url, tmp_path) == CONTENT


@pytest.mark.parametrize("how", [{}, {"chunked": True}])
def test_a_body_larger_than_allowed_is_stopped(tmp_path: Path, how: dict[str, Any]) -> None:
    small = Patience(connect_s=2, silence_s=1, attempts=2, pause_s=0.01, max_bytes=200_000)
    with serving(CONTENT, **how) as served, pytest.raises(ModelError, match="larger"):
        get(served.url, tmp_path, patience=small)
    assert left(tmp_path) == []


def test_a_slow_server_is_waited_for_while_it_sends(tmp_path: Path) -> None:
    with serving(CONTENT, drip=60_000, drip_s=0.2) as served:
        assert get(served.url, tmp_path) == CONTENT


def test_a_server_that_hardly_moves_is_given_up(tmp_path: Path) -> None:
    with serving(CONTENT, drip=10, drip_s=0.2) as served, pytest.raises(ModelError):
        get(served.url, tmp_path, patience=Patience(2, 0.5, 1, 0.01))


def test_a_silent_server_is_given_up_with_words(tmp_path: Path) -> None:
    with serving(CONTENT, stall_s=1.5) as served, pytest.raises(ModelError, match="silent"):
        get(served.url, tmp_path, patience=Patience(2, 0.2, 2, 0.01))


def test_passing_faults_are_tried_again_and_final_ones_are_not(tmp_path: Path) -> None:
    with serving(CONTENT, statuses=[503, 429]) as served:
        assert get(served.url, tmp_path) == CONTENT
    with serving(CONTENT, status=404) as served, pytest.raises(ModelError, match="404"):
        fetch(served.url, SHA256, tmp_path / "other", patience=QUICK)
    assert len(served.asked) == 1


def test_redirects_are_followed_a_few_times(tmp_path: Path) -> None:
    with serving(CONTENT, redirects=3) as served:
        assert get(served.url, tmp_path) == CONTENT
    with (
        serving(CONTENT, redirects=50) as served,
        pytest.raises(ModelError, match="one address to the next"),
    ):
        fetch(served.url, SHA256, tmp_path / "other", patience=QUICK)


def test_a_redirect_to_a_file_of_this_machine_is_refused(tmp_path: Path) -> None:
    with (
        serving(CONTENT, redirects=1, to="file:///etc/hostname") as served,
        pytest.raises(ModelError, match="no web server"),
    ):
        get(served.url, tmp_path)


def test_the_reader_stops_it_and_goes_on_later(tmp_path: Path) -> None:
    seen: list[int] = []
    with serving(CONTENT, drip=20_000, drip_s=0.05) as served:
        with pytest.raises(Cancelled):
            get(
                served.url,
                tmp_path,
                progress=lambda now, _: seen.append(now),
                cancelled=lambda: len(seen) > 2,
            )
        assert get(served.url, tmp_path) == CONTENT
    assert served.asked[1][1].startswith("bytes=")


def test_a_proxy_of_the_environment_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(CONTENT) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url.rsplit("/models", 1)[0])
        monkeypatch.setenv("no_proxy", "")
        assert get("http://models.invalid/given.zip", tmp_path) == CONTENT
    assert proxy.asked[0][0] == "http://models.invalid/given.zip"


def test_without_a_hash_nothing_is_asked(tmp_path: Path) -> None:
    with serving(CONTENT) as served, pytest.raises(ModelError, match="64 digits"):
        fetch(served.url, "abc", tmp_path)
    assert served.asked == []
