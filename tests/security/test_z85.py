"""Z85 as libzmq has it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ringback.security import z85
from zmq.utils import z85 as theirs


@given(st.binary(max_size=20).map(lambda data: data * 4))
def test_text_and_bytes_are_those_of_libzmq(data: bytes) -> None:
    text = z85.encode(data)
    assert text == theirs.encode(data)
    assert z85.decode(text) == data


@pytest.mark.parametrize("data", [b"1", b"12345"])
def test_bytes_of_another_length_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="multiple of 4"):
        z85.encode(data)


@pytest.mark.parametrize("text", [b"1234", b"12 45", b"#####", b"~2345"])
def test_what_is_no_z85_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"multiple of 5|not a digit|beyond"):
        z85.decode(text)
