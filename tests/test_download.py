"""Downloads go on where they stopped, are verified, and leave nothing half-written under a final name."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from localllm.errors import ChecksumMismatch, DownloadError, NotEnoughSpace, Offline
from localllm.models import download as downloads
from localllm.models.download import Network, Progress, Remote, download, part_files
from localllm.models.lock import only_one
from localllm.models.urls import shown
from tests.file_server import FileServer, serve_files

DATA = random.Random(1).randbytes(3_000_000)
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture(scope="module")
def running() -> Iterator[FileServer]:
    with serve_files() as server:
        yield server


@pytest.fixture
def server(running: FileServer) -> FileServer:
    running.files.clear()
    running.requests.clear()
    running.sent = 0
    return running


class Waits:
    """Stands in for sleeping, and counts it."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


@pytest.fixture
def waits() -> Waits:
    return Waits()


@pytest.fixture
def network(waits: Waits) -> Network:
    return Network(stall_seconds=5, sleep=waits)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "model.gguf"


def only(target: Path) -> bool:
    """Nothing but the finished file is left."""
    return sorted(p.name for p in target.parent.iterdir()) == [target.name]


def empty(target: Path) -> bool:
    return not any(target.parent.iterdir())


def test_a_file_arrives_whole_and_private(server: FileServer, network: Network, target: Path) -> None:
    server.add("/m", DATA)
    seen: list[Progress] = []
    download(Remote(server.url + "/m", SHA256, len(DATA)), target, network, report=seen.append)
    assert target.read_bytes() == DATA and only(target)
    assert os.name == "nt" or target.stat().st_mode & 0o777 == 0o600
    assert [p.done for p in seen] == sorted(p.done for p in seen)
    assert (seen[-1].done, seen[-1].total) == (len(DATA), len(DATA))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(0, len(DATA) - 1), max_size=5))
def test_a_download_cut_at_random_points_arrives_whole(running: FileServer, tmp_path: Path, cuts: list[int]) -> None:
    running.files.clear()
    running.add("/m", DATA, cuts=list(cuts))
    running.sent = 0
    target = tmp_path / "cut.gguf"
    target.unlink(missing_ok=True)
    download(Remote(running.url + "/m", SHA256), target, Network(stall_seconds=5, sleep=lambda _: None))
    assert target.read_bytes() == DATA and only(target)
    assert running.sent == len(DATA)  # what had arrived was not fetched again


@pytest.mark.parametrize("place", [1, 1000, 1 << 20, 2_999_999])
def test_a_second_run_goes_on_where_the_first_was_killed(
    server: FileServer, network: Network, target: Path, place: int
) -> None:
    """Killed between any two pieces: what is on the disk counts, not what was remembered."""
    server.add("/m", DATA)

    class Killed(BaseException):
        pass

    def die(progress: Progress) -> None:
        if progress.done >= min(place, 2_500_000):
            raise Killed

    with pytest.raises(Killed):
        download(Remote(server.url + "/m", SHA256), target, network, report=die)
    part, note = part_files(target)
    assert part.exists() and note.exists() and not target.exists()
    os.truncate(part, min(place, part.stat().st_size))
    had = part.stat().st_size
    server.requests.clear()
    download(Remote(server.url + "/m", SHA256), target, network)
    assert server.ranges() == [f"bytes={had}-"]
    assert target.read_bytes() == DATA and only(target)


def test_a_killed_process_leaves_a_start_that_the_next_goes_on_with(
    server: FileServer, network: Network, target: Path
) -> None:
    release = threading.Event()
    server.add("/m", DATA, cuts=[1_000_000], stall=release)
    code = (
        "import sys; from pathlib import Path; from localllm.models.download import Remote, download; "
        "download(Remote(sys.argv[1]), Path(sys.argv[2]))"
    )
    process = subprocess.Popen([sys.executable, "-c", code, server.url + "/m", str(target)])
    part, _ = part_files(target)
    try:
        for _ in range(600):
            if part.exists() and part.stat().st_size > 900_000:
                break
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait(10)
        release.set()
    had = part.stat().st_size
    assert had > 900_000 and not target.exists()
    server.requests.clear()
    download(Remote(server.url + "/m", SHA256), target, network)
    assert server.ranges() == [f"bytes={had}-"]
    assert target.read_bytes() == DATA and only(target)


def test_damage_to_the_partial_file_is_noticed(server: FileServer, network: Network, target: Path) -> None:
    served = server.add("/m", DATA, cuts=[2_000_000] + [0] * 10)
    with pytest.raises(DownloadError):
        download(Remote(server.url + "/m", SHA256), target, network)
    part, _ = part_files(target)
    raw = bytearray(part.read_bytes())
    raw[1000] ^= 1
    part.write_bytes(raw)
    served.cuts.clear()
    with pytest.raises(ChecksumMismatch):
        download(Remote(server.url + "/m", SHA256), target, network)
    assert empty(target)
    download(Remote(server.url + "/m", SHA256), target, network)
    assert target.read_bytes() == DATA


def test_a_wrong_sha256_leaves_nothing(server: FileServer, network: Network, target: Path) -> None:
    server.add("/m", DATA)
    with pytest.raises(ChecksumMismatch, match="0" * 64):
        download(Remote(server.url + "/m", "0" * 64), target, network)
    assert empty(target)


def test_a_wrong_size_is_refused_before_anything_is_fetched(server: FileServer, network: Network, target: Path) -> None:
    server.add("/m", DATA)
    with pytest.raises(ChecksumMismatch, match="3,000,001"):
        download(Remote(server.url + "/m", SHA256, len(DATA) + 1), target, network)
    assert empty(target)


def test_the_sha256_of_a_redirect_is_checked(server: FileServer, network: Network, target: Path) -> None:
    """As Hugging Face does: the first answer names the sha256, the second holds the file."""
    server.add("/cdn", DATA)
    server.add("/resolve", b"", redirect=server.url + "/cdn", headers={"X-Linked-ETag": f'"{SHA256}"'})
    download(Remote(server.url + "/resolve"), target, network)
    assert target.read_bytes() == DATA
    target.unlink()
    server.add("/resolve", b"", redirect=server.url + "/cdn", headers={"X-Linked-ETag": f'"{"0" * 64}"'})
    with pytest.raises(ChecksumMismatch):
        download(Remote(server.url + "/resolve"), target, network)
    assert empty(target)


def test_a_token_is_not_carried_to_another_host(server: FileServer, network: Network, target: Path) -> None:
    server.add("/cdn", DATA)
    elsewhere = server.url.replace("127.0.0.1", "localhost")
    server.add("/resolve", b"", redirect=elsewhere + "/cdn")
    download(Remote(server.url + "/resolve", headers={"Authorization": "Bearer secret"}), target, network)
    first, second = (headers for _, headers in server.requests)
    assert first["authorization"] == "Bearer secret" and "authorization" not in second


def test_a_server_without_ranges_starts_over(server: FileServer, network: Network, target: Path) -> None:
    server.add("/m", DATA, ranges=False, cuts=[1_500_000])
    download(Remote(server.url + "/m", SHA256), target, network)
    assert server.ranges() == ["", "bytes=1500000-"]
    assert target.read_bytes() == DATA


def test_a_file_that_changed_meanwhile_starts_over(server: FileServer, network: Network, target: Path) -> None:
    server.add("/m", DATA, cuts=[1_000_000] + [0] * 10)
    with pytest.raises(DownloadError, match="connection"):
        download(Remote(server.url + "/m"), target, network)
    new = DATA[::-1]
    server.add("/m", new)
    download(Remote(server.url + "/m"), target, network)
    assert target.read_bytes() == new


@pytest.mark.parametrize("length", [500_000, 2_000_000])
def test_a_file_that_changed_its_size_without_validators_starts_over(
    server: FileServer, network: Network, target: Path, length: int
) -> None:
    server.add("/m", DATA, etag="", cuts=[1_000_000] + [0] * 10)
    sha256 = hashlib.sha256(DATA[:length]).hexdigest()
    with pytest.raises(DownloadError):
        download(Remote(server.url + "/m", sha256), target, network)
    server.add("/m", DATA[:length], etag="")
    download(Remote(server.url + "/m", sha256), target, network)
    assert target.read_bytes() == DATA[:length]


def test_nothing_is_resumed_that_can_not_be_verified(server: FileServer, network: Network, target: Path) -> None:
    """No validator and no checksum: a prefix may belong to another file, so it is fetched again."""
    server.add("/m", DATA, etag="", cuts=[1_000_000] + [0] * 10)
    with pytest.raises(DownloadError):
        download(Remote(server.url + "/m"), target, network)
    server.requests.clear()
    server.add("/m", DATA[::-1], etag="")
    download(Remote(server.url + "/m"), target, network)
    assert server.ranges() == [""]
    assert target.read_bytes() == DATA[::-1]


def test_a_complete_partial_file_is_only_verified(server: FileServer, network: Network, target: Path) -> None:
    """Killed between the last byte and the renaming."""
    server.add("/m", DATA)
    part, note = part_files(target)
    part.write_bytes(DATA)
    note.write_text(json.dumps({"url": server.url + "/m", "validator": "", "size_bytes": len(DATA), "sha256": SHA256}))
    download(Remote(server.url + "/m", SHA256), target, network)
    assert server.sent == 0 and target.read_bytes() == DATA and only(target)


def test_a_partial_file_longer_than_the_file_starts_over(server: FileServer, network: Network, target: Path) -> None:
    server.add("/m", DATA)
    part, note = part_files(target)
    part.write_bytes(DATA + b"more")
    note.write_text(json.dumps({"url": server.url + "/m", "validator": "", "size_bytes": 0, "sha256": SHA256}))
    download(Remote(server.url + "/m", SHA256), target, network)
    assert target.read_bytes() == DATA


def test_the_partial_file_of_another_url_is_not_used(server: FileServer, network: Network, target: Path) -> None:
    server.add("/m", DATA)
    part, note = part_files(target)
    part.write_bytes(b"x" * 1000)
    note.write_text(json.dumps({"url": server.url + "/other", "validator": '"e"', "size_bytes": 5, "sha256": ""}))
    download(Remote(server.url + "/m"), target, network)
    assert server.ranges() == [""] and target.read_bytes() == DATA


@pytest.mark.parametrize("broken", ["", "{", "[]", '{"url": 3, "who": 1}'])
def test_a_broken_note_means_starting_over(server: FileServer, network: Network, target: Path, broken: str) -> None:
    server.add("/m", DATA)
    part, note = part_files(target)
    part.write_bytes(b"x" * 1000)
    note.write_text(broken)
    download(Remote(server.url + "/m"), target, network)
    assert target.read_bytes() == DATA


def test_a_server_that_says_no_length_is_believed_at_its_end(
    server: FileServer, network: Network, target: Path
) -> None:
    server.add("/m", DATA, length=False)
    download(Remote(server.url + "/m", SHA256), target, network)
    assert target.read_bytes() == DATA


def test_errors_that_pass_are_waited_out_ever_longer(
    server: FileServer, network: Network, target: Path, waits: Waits
) -> None:
    server.add("/m", DATA, statuses=[503, 429])
    download(Remote(server.url + "/m"), target, network)
    assert target.read_bytes() == DATA
    assert len(waits.seconds) == 2 and waits.seconds[0] < waits.seconds[1]


def test_a_server_that_never_gets_better_is_given_up(
    server: FileServer, network: Network, target: Path, waits: Waits
) -> None:
    server.add("/m", DATA, statuses=[503] * 50)
    with pytest.raises(DownloadError, match="503"):
        download(Remote(server.url + "/m"), target, network)
    assert len(server.requests) == downloads.TRIES_TO_CONNECT and not target.exists()


@pytest.mark.parametrize(("status", "word"), [(401, "token"), (403, "token"), (404, "no such file"), (418, "418")])
def test_errors_that_stay_are_said_at_once(
    server: FileServer, network: Network, target: Path, status: int, word: str
) -> None:
    server.add("/m", DATA, statuses=[status])
    with pytest.raises(DownloadError, match=word):
        download(Remote(server.url + "/m"), target, network)
    assert len(server.requests) == 1 and not target.exists()


def test_a_stalled_connection_is_made_anew(server: FileServer, waits: Waits, target: Path) -> None:
    release = threading.Event()
    server.add("/m", DATA, cuts=[1_000_000], stall=release)
    try:
        download(Remote(server.url + "/m", SHA256), target, Network(stall_seconds=0.3, sleep=waits))
    finally:
        release.set()
    assert target.read_bytes() == DATA and len(server.requests) == 2


def test_no_server_is_one_clear_line(network: Network, target: Path) -> None:
    with pytest.raises(DownloadError) as caught:
        download(Remote("http://user:secret@127.0.0.1:9/m"), target, network)
    assert "127.0.0.1:9" in str(caught.value) and "secret" not in str(caught.value)
    assert not any(path.exists() for path in downloads.part_files(target)), "nothing arrived, nothing is left"


def test_offline_makes_no_connection(server: FileServer, target: Path) -> None:
    with pytest.raises(Offline, match="--offline"):
        download(Remote(server.url + "/m"), target, Network(offline=True))
    assert server.requests == [] and empty(target)


def test_a_file_on_a_stick_needs_no_connection(tmp_path: Path, target: Path) -> None:
    stick = tmp_path / "stick" / "my model.gguf"
    stick.parent.mkdir()
    stick.write_bytes(DATA)
    download(Remote(stick.as_uri(), SHA256), target, Network(offline=True))
    assert target.read_bytes() == DATA and stick.exists()


def test_a_disk_that_is_too_small_is_refused_at_the_start(
    server: FileServer, network: Network, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.add("/m", DATA)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(100, 0, 2_000_000))
    with pytest.raises(NotEnoughSpace, match=r"2\.0 MB free"):
        download(Remote(server.url + "/m"), target, network)
    assert not target.exists()


def test_a_disk_that_fills_up_keeps_what_arrived(
    server: FileServer, network: Network, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.add("/m", DATA)
    room = 1_500_000
    open_path = Path.open

    class SmallDisk:
        """A file on a disk with little room."""

        def __init__(self, file: BinaryIO) -> None:
            self.file = file

        def __enter__(self) -> SmallDisk:
            return self

        def __exit__(self, *error: object) -> None:
            self.file.close()

        def __getattr__(self, name: str) -> Any:
            return getattr(self.file, name)

        def write(self, piece: bytes) -> int:
            if self.file.tell() + len(piece) > room:
                self.file.write(piece[: room - self.file.tell()])
                raise OSError(errno.ENOSPC, "No space left on device")
            return self.file.write(piece)

    def opened(path: Path, mode: str = "r", *args: Any, **more: Any) -> Any:
        file = open_path(path, mode, *args, **more)
        return SmallDisk(cast(BinaryIO, file)) if path.name.endswith(".part") and "+" in mode else file

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", opened)
        with pytest.raises(NotEnoughSpace, match="full"):
            download(Remote(server.url + "/m", SHA256), target, network)
    part, _ = part_files(target)
    assert not target.exists() and part.stat().st_size == room
    server.requests.clear()
    download(Remote(server.url + "/m", SHA256), target, network)
    assert server.ranges() == [f"bytes={room}-"]
    assert target.read_bytes() == DATA and only(target)


def test_a_file_that_the_check_refuses_never_gets_its_name(server: FileServer, network: Network, target: Path) -> None:
    server.add("/m", DATA)

    def refuse(path: Path) -> None:
        raise DownloadError(f"{path.stat().st_size} bytes of nonsense.")

    with pytest.raises(DownloadError, match="nonsense"):
        download(Remote(server.url + "/m"), target, network, check=refuse)
    assert empty(target)


def test_two_at_once_do_not_write_the_same_file(server: FileServer, network: Network, target: Path) -> None:
    server.add("/m", DATA)
    with only_one(target), pytest.raises(DownloadError, match="Another localllm"):
        download(Remote(server.url + "/m"), target, network)
    download(Remote(server.url + "/m"), target, network)
    assert only(target)


def test_an_existing_file_stays_until_the_new_one_is_complete(
    server: FileServer, network: Network, target: Path
) -> None:
    target.write_bytes(b"old")
    served = server.add("/m", DATA, statuses=[404])
    with pytest.raises(DownloadError):
        download(Remote(server.url + "/m"), target, network)
    assert target.read_bytes() == b"old"
    served.statuses.clear()
    download(Remote(server.url + "/m"), target, network)
    assert target.read_bytes() == DATA


def test_credentials_reach_their_host_and_no_note(server: FileServer, network: Network, target: Path) -> None:
    server.add("/m", DATA, user="bmFtZTpwQHNz", cuts=[1_000_000] + [0] * 10)
    url = server.url.replace("http://", "http://name:p%40ss@") + "/m?signature=secret"
    with pytest.raises(DownloadError) as caught:
        download(Remote(url), target, network)
    note = part_files(target)[1].read_text()
    assert not any(word in note + str(caught.value) for word in ("p%40ss", "p@ss", "secret", "name:"))
    assert shown(url) == server.url + "/m"
