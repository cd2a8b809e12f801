"""Options make a light view of the same client; what they say travels with the call."""

from __future__ import annotations

import pytest
from promises import promise
from styles import Items


@pytest.mark.parametrize("method", ["metadata", "metadata_inline"])
@promise
def test_metadata_reaches_the_handler(client, method):
    sent = {"user": "ada", "trace": 7, "nested": {"a": [1, None]}}
    assert (yield client.options(metadata=sent).call(method)) == sent


@promise
def test_without_metadata_there_is_none(client):
    assert (yield client.call("metadata")) == {}


@promise
def test_metadata_of_views_merges(client):
    view = client.options(metadata={"a": 1, "b": 1}).options(metadata={"b": 2})
    assert (yield view.call("metadata")) == {"a": 1, "b": 2}


@promise
def test_a_view_leaves_its_client_as_it_was(client):
    client.options(metadata={"a": 1}, timeout=1.0)
    assert (yield client.call("metadata")) == {}


@promise
def test_options_of_views_add_up(client):
    facts = (
        yield client.options(timeout=5).options(priority=3).options(metadata={"a": 1}).call("facts")
    )
    assert facts["priority"] == 3
    assert facts["metadata"] == {"a": 1}
    assert facts["remaining"] <= 5.01


@promise
def test_options_may_be_given_to_connect(client, pair):
    other = pair.connect(timeout=7, metadata={"a": 1})
    facts = yield other.call("facts")
    assert facts["metadata"] == {"a": 1}
    assert facts["remaining"] <= 7.01


@promise
def test_closing_a_view_raises(client):
    with pytest.raises(RuntimeError, match="view"):
        yield client.options(timeout=1).close()
    assert (yield client.call("add", 1, 2)) == 3


@promise
def test_a_view_outlives_the_name_of_its_client(client, pair):
    view = pair.style.connect(pair.endpoint).options(metadata={"a": 1})
    pair._clients.append(view._origin)
    assert (yield view.call("metadata")) == {"a": 1}


@promise
def test_an_unknown_option_is_refused_with_those_that_there_are(client):
    with pytest.raises(TypeError, match="metadata"):
        client.options(no_such_option=1)
    yield None


@promise
def test_a_view_fires_and_streams_too(client):
    view = client.options(metadata={"a": 1})
    assert (yield view.fire("metadata")) == {"a": 1}
    [facts] = yield Items(view.stream("facts_stream"))
    assert facts["metadata"] == {"a": 1}


@pytest.mark.parametrize("method", ["facts", "facts_inline", "facts_async"])
@promise
def test_a_handler_knows_its_call(client, method):
    facts = yield client.options(timeout=9, priority=2, metadata={"a": 1}).call(method)
    assert facts["method"] == method
    assert facts["metadata"] == {"a": 1}
    assert facts["priority"] == 2
    assert facts["app"] is None
    assert 1 < facts["remaining"] <= 9.01
    assert "127.0.0.1" in facts["peer"]
