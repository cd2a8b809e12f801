"""`python looking.py PLACE [HOSTS]`: prints each list of endpoints, as a line of JSON; by the names
of that file, mounted for it alone.
"""

from __future__ import annotations

import json
import subprocess
import sys

from ringback.discovery import source_of


def main(place: str, hosts: str = "") -> None:
    if hosts:
        subprocess.run(["mount", "--bind", hosts, "/etc/hosts"], check=True)
    source = source_of(place)
    assert source is not None
    source.start(lambda endpoints: print(json.dumps(endpoints), flush=True))
    sys.stdin.read()  # until it is closed


if __name__ == "__main__":
    main(*sys.argv[1:])
