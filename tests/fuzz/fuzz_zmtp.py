"""The coverage-guided fuzzer of ZeroMQ's wire: `tox -e fuzz`, or this file with libFuzzer's
options.
"""

from __future__ import annotations

import fuzzing

if __name__ == "__main__":
    fuzzing.run("zmtp")
