"""A buffer for a large frame that arrives in pieces, to save the copy of joining them."""

from __future__ import annotations

import ctypes
import sys


class Filling:
    """A buffer of `size` bytes, of which the first `filled` have arrived. Raises MemoryError.

    The system provides memory only for the written part, whatever the size.
    """

    __slots__ = ("_data", "_view", "filled", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self.filled = 0
        self._data, self._view = _made(size)

    @property
    def space(self) -> memoryview:
        """The place for the next bytes. The caller that writes there adds to `filled`."""
        return self._view[self.filled :]

    def add(self, data: bytes | memoryview) -> int:
        """Take as much of the data as there is room for. Returns the number of bytes."""
        taken = min(len(data), self.size - self.filled)
        self._view[self.filled : self.filled + taken] = data[:taken]
        self.filled += taken
        return taken

    def whole(self) -> bytes:
        """The complete frame. Call it once, when all bytes have arrived."""
        data = self._data
        del self._data, self._view  # the view does not keep the data alive
        return data if isinstance(data, bytes) else bytes(data)


_WRITABLE = 0x200  # PyBUF_WRITE


def _made(size: int) -> tuple[bytes | bytearray, memoryview]:
    """Bytes, and a view to write to them.

    Python's C API allows code to fill a bytes object as long as no other code refers to it.
    """
    if sys.implementation.name != "cpython":
        data = bytearray(size)
        return data, memoryview(data)
    made: bytes = _new_bytes(None, size)
    view: memoryview = _view_of(_address_of(made), size, _WRITABLE)
    return made, view


if sys.implementation.name == "cpython":
    _new_bytes = ctypes.pythonapi.PyBytes_FromStringAndSize
    _new_bytes.restype, _new_bytes.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.c_ssize_t)
    _address_of = ctypes.pythonapi.PyBytes_AsString
    _address_of.restype, _address_of.argtypes = ctypes.c_void_p, (ctypes.py_object,)
    _view_of = ctypes.pythonapi.PyMemoryView_FromMemory
    _view_of.restype = ctypes.py_object
    _view_of.argtypes = (ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_int)
