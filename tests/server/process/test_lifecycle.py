"""An embedded server is started, ended, and started again, and leaves nothing behind, whether its
start failed or not.
"""

from __future__ import annotations

from pathlib import Path

PROGRAM = Path(__file__).with_name("lives.py")


def test_a_server_lives_again_and_leaves_nothing_behind(backend: str, run_program) -> None:
    ran = run_program(str(PROGRAM), backend)
    nothing = "threads and descriptors left: 0 0"
    both = [
        f"lived {' '.join(['entered left'] * 3)} {nothing}",
        f"failed {' '.join(['entered left failed'] * 3)} {nothing}",
    ]
    again = "this server is running already: make another Server for another start"
    assert ran.lines == [*both, *both, again], ran
