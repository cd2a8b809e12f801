"""Numbers and names of the protocol that both ends know, and which strings it can carry, in a file that loads nothing."""

# Bytes of this length and more go in a frame of their own: from here on a copy costs more than a frame.
FRAME_BYTES = 64 * 1024

# A batch grows to about this; more goes into further batches, so that none keeps a socket busy for long.
BATCH_BYTES = 512 * 1024

# The most messages of one batch: what is sent takes three bytes at least, and many times as much when it is read.
MAX_MESSAGES = 65_536

# The most ZeroMQ frames of one batch, the first among them.
MAX_FRAMES = 1024

# The most calls of one Map.
MAX_MAPPED = 10_000

# Who takes all calls, and who only those that change nothing.
ROLES = ("primary", "replica")

# The integers that a priority or a version may be.
INT64 = range(-(1 << 63), 1 << 63)


def is_text(value: object) -> bool:
    """Whether it is a string that can be sent: without halves of surrogate pairs."""
    return type(value) is str and not any("\ud800" <= letter <= "\udfff" for letter in value)
