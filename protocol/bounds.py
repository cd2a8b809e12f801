"""Limits and names of the protocol that both ends share, in a file without imports."""

# Byte strings of this length or more get a frame of their own: a copy would cost more than a frame.
FRAME_BYTES = 64 * 1024

# Approximate maximum bytes of a batch; the rest goes into further batches, so that no batch keeps a
# socket busy for long.
BATCH_BYTES = 512 * 1024

# Maximum messages of one batch. A message takes at least three bytes on the wire, and many times
# that once it is decoded.
MAX_MESSAGES = 65_536

# Maximum ZeroMQ frames of one batch, including the first.
MAX_FRAMES = 1024

# Maximum calls of one Map.
MAX_MAPPED = 10_000

# Roles of a server: a primary takes all calls, a replica only calls of readonly methods.
ROLES = ("primary", "replica")

# Valid values of a priority or a version.
INT64 = range(-(1 << 63), 1 << 63)


def is_text(value: object) -> bool:
    """Whether the value is a string without lone surrogates, which can be sent."""
    return type(value) is str and not any("\ud800" <= letter <= "\udfff" for letter in value)
