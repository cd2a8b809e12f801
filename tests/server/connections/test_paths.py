"""`ipc://` paths: a server replaces nothing but the socket of a server that is dead, and removes nothing but its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from processes import SERVICES, SOON

# One process, and many under a supervisor, which makes the sockets.
PROCESSES = pytest.mark.parametrize(
    "options", [(), ("--processes", "2")], ids=["one process", "many processes"]
)


def _occupied(home: Path) -> dict[str, str]:
    """Paths that no server may replace, and the words that say why."""
    (home / "file").write_text("kept")
    (home / "directory").mkdir()
    os.mkfifo(home / "pipe")
    (home / "link").symlink_to(home / "file")
    (home / "dangling").symlink_to(home / "nowhere")
    (home / "locked.lock").write_text("kept")
    (home / "linked.lock").symlink_to(home / "file")
    (home / "barred.lock").mkdir()
    return {
        "file": "file is a file",
        "directory": "directory is a directory",
        "pipe": "pipe is a named pipe",
        "link": "link is a symbolic link",
        "dangling": "dangling is a symbolic link",
        "locked": "locked.lock is not the lock file of a server",
        "linked": "linked.lock is not a usable lock file",
        "barred": "barred.lock is not a usable lock file",
        "nosuch/s": "No such file or directory",
        "file/s": "Not a directory",
        "x" * 107: "use one of at most 107 bytes",
    }


def _files(home: Path) -> dict[str, object]:
    """Each file by name, with its content where it is a plain one."""
    return {
        str(path): path.read_bytes() if path.is_file() else path.lstat().st_mode
        for path in home.rglob("*")
    }


def _second(backend: str, endpoint: str, *options: str) -> str:
    """Why another server does not start there: its one line."""
    command = [sys.executable, "-m", "ringback.server", f"{SERVICES}:service", "--backend", backend]
    ran = subprocess.run(
        [*command, "--bind", endpoint, *options],
        capture_output=True,
        text=True,
        timeout=2 * SOON,
        check=False,
    )
    assert (ran.stdout, len(ran.stderr.splitlines())) == ("", 1), ran
    assert ran.stderr.startswith("ringback: "), ran
    return ran.stderr


@PROCESSES
def test_what_a_server_has_not_made_is_refused_in_one_line_and_stays(
    options: tuple[str, ...], tmp_path: Path
) -> None:
    occupied = _occupied(tmp_path)
    before = _files(tmp_path)
    for name, words in occupied.items():
        assert words in _second("asyncio", f"ipc://{tmp_path}/{name}", *options)
    assert _files(tmp_path) == before


def test_a_file_is_refused_on_every_backend(backend: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    assert "file is a file" in _second(backend, f"ipc://{tmp_path}/file")
    assert _files(tmp_path) == {f"{tmp_path}/file": b"kept"}


@PROCESSES
def test_a_socket_that_another_program_serves_is_in_use_and_stays(
    options: tuple[str, ...], tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX) as theirs:
        theirs.bind(f"{tmp_path}/theirs")
        theirs.listen()
        assert "is in use" in _second("threading", f"ipc://{tmp_path}/theirs", *options)
        with socket.socket(socket.AF_UNIX) as caller:
            caller.connect(f"{tmp_path}/theirs")


@PROCESSES
def test_a_server_takes_the_path_of_one_that_is_dead(
    options: tuple[str, ...], start_server, connected, tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(f"{tmp_path}/stale")
    server = start_server("threading", "service", *options, bind=(f"ipc://{tmp_path}/stale",))
    assert connected(server.endpoint).call("add", 1, 2) == 3
    assert server.stop() == 0
    assert list(tmp_path.iterdir()) == []


@PROCESSES
def test_a_file_that_comes_to_the_path_of_a_server_stays_at_its_end(
    options: tuple[str, ...], start_server, tmp_path: Path
) -> None:
    server = start_server("threading", "service", *options, bind=(f"ipc://{tmp_path}/s",))
    (tmp_path / "new").write_text("kept")
    (tmp_path / "new").rename(tmp_path / "s")
    assert server.stop() == 0
    assert _files(tmp_path) == {f"{tmp_path}/s": b"kept"}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has abstract names")
@PROCESSES
def test_an_abstract_name_has_no_file(options: tuple[str, ...], start_server, connected) -> None:
    endpoint = f"ipc://@ringback-{os.getpid()}"
    server = start_server("threading", "service", *options, bind=(endpoint,))
    assert connected(endpoint).call("add", 1, 2) == 3
    assert "is in use" in _second("threading", endpoint, *options)
    assert server.stop() == 0
