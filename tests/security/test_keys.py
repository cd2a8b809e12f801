"""The files of keys: made so that only their owner reads what is secret, and refused in one line
where they are not as they must be.
"""

from __future__ import annotations

import importlib
import os
import stat

import pytest
import ringback
import zmq.auth
from ringback.clients.threading import connect
from ringback.errors import UsageError
from ringback.security import authorized, keys

NOBODY = "tcp://127.0.0.1:9"


def test_a_secret_key_is_for_its_owner_alone_from_the_beginning(tmp_path):
    before = os.umask(0)
    try:
        public, secret = keys.make(tmp_path / "new", "alice")
    finally:
        os.umask(before)
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert stat.S_IMODE(public.stat().st_mode) == 0o644
    assert stat.S_IMODE(public.parent.stat().st_mode) == 0o700


def test_pyzmq_reads_our_files_and_we_its_own(tmp_path):
    public, secret = keys.make(tmp_path, "ours")
    assert zmq.auth.load_certificate(secret) == (
        keys.read_public(public),
        keys.read_secret(secret).secret,
    )
    theirs = [str(path) for path in zmq.auth.create_certificates(tmp_path, "theirs")]
    os.chmod(theirs[1], 0o600)
    assert keys.read_secret(theirs[1]).public == keys.read_public(theirs[0])


def test_keys_are_never_overwritten(tmp_path):
    public, secret = keys.make(tmp_path, "alice")
    kept = secret.read_bytes()
    with pytest.raises(UsageError, match="there already"):
        keys.make(tmp_path, "alice")
    public.unlink()
    with pytest.raises(UsageError, match="there already"):
        keys.make(tmp_path, "alice")
    assert secret.read_bytes() == kept
    assert not public.exists()


@pytest.mark.parametrize("name", ["", ".", "../bob", "a/b", "a b", "-x", "ä", "a\n", "x" * 256])
def test_a_name_is_one_word(tmp_path, name):
    with pytest.raises(UsageError, match="bad name of a key"):
        keys.make(tmp_path / "new", name)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o610])
def test_a_secret_key_that_others_can_read_is_not_used(pairs, mode):
    os.chmod(pairs.secret("server"), mode)
    for use in (
        lambda: ringback.Server(ringback.Service("s"), NOBODY, **pairs.server),
        lambda: connect(
            NOBODY, server_key=pairs.public("server"), secret_key=pairs.secret("server")
        ),
    ):
        with pytest.raises(UsageError, match=f"chmod 600 {pairs.secret('server')}"):
            use()


def test_a_stricter_mode_will_do(pairs):
    os.chmod(pairs.secret("server"), 0o400)
    keys.read_secret(pairs.secret("server"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_secret_key_of_another_user_is_not_used(pairs):
    os.chown(pairs.secret("server"), 1, 1)
    with pytest.raises(UsageError, match="belongs to another user"):
        keys.read_secret(pairs.secret("server"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has files of root's")
def test_a_secret_key_of_root_may_be_readable_by_the_group_it_is_mounted_for(pairs, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 10001)
    os.chmod(pairs.secret("server"), 0o440)
    keys.read_secret(pairs.secret("server"))
    for mode in (0o444, 0o460, 0o604):
        os.chmod(pairs.secret("server"), mode)
        with pytest.raises(UsageError, match=f"chmod 640 {pairs.secret('server')}"):
            keys.read_secret(pairs.secret("server"))


def test_what_is_wrong_with_a_file_is_told_without_what_is_in_it(pairs, tmp_path):
    pair = keys.read_secret(pairs.secret("server"))
    other = keys.KeyPair.fresh()
    wrong = {
        "no key at all": ("is not a key file", "hello"),
        "a short key": ("is not a key file", 'public-key = "abc"\nsecret-key = "def"'),
        "no secret": ("has no secret key", f'public-key = "{pair.public.decode()}"'),
        "not a pair": (
            "do not match",
            f'public-key = "{other.public.decode()}"\nsecret-key = "{pair.secret.decode()}"',
        ),
    }
    for name, (said, text) in wrong.items():
        path = tmp_path / name
        path.write_text(text)
        path.chmod(0o600)
        with pytest.raises(UsageError, match=said) as caught:
            keys.read_secret(path)
        assert str(path) in str(caught.value)
        assert pair.secret.decode() not in str(caught.value)
    with pytest.raises(UsageError, match="No such file"):
        keys.read_secret(tmp_path / "nothing")
    with pytest.raises(UsageError, match="No such file"):
        keys.read_public(tmp_path / "nothing")


def test_nothing_shows_a_key_by_chance(pairs):
    client = connect(NOBODY, **pairs.make("alice"))
    server = ringback.Server(ringback.Service("s"), NOBODY, **pairs.server)
    shown = f"{vars(client)} {vars(client._shared)} {vars(server)} {keys.KeyPair.fresh()!r}"
    assert not [secret for secret in pairs.secrets() if secret in shown]


def test_a_server_key_is_text_or_a_file(pairs):
    path = pairs.public("server")
    key = keys.read_public(path)
    for given in (key, key.decode(), path, str(path)):
        assert keys.public_key(given) == key
    for given in ("", 5, b"short", None):
        with pytest.raises(UsageError):
            keys.public_key(given)
    with pytest.raises(UsageError, match="No such file"):
        keys.public_key("é" * 40)


@pytest.mark.parametrize("style", ["threading", "gevent", "asyncio", "twisted"])
def test_a_client_refuses_a_secret_key_for_a_public_one_and_the_reverse(pairs, style):
    connect = importlib.import_module(f"ringback.clients.{style}").connect
    public, secret = pairs.public("server"), pairs.secret("server")
    pair = keys.read_secret(secret)
    for given, said in (
        ({"server_key": secret}, f"{secret} holds a secret key, where a public one belongs"),
        ({"server_key": str(secret)}, f"{secret} holds a secret key, where a public one belongs"),
        (
            {"server_key": pair.secret, "secret_key": secret},
            "server_key is the secret key of secret_key",
        ),
        ({"server_key": public, "secret_key": public}, f"{public} has no secret key"),
        ({"server_key": public, "secret_key": pair.secret.decode()}, "not the key itself"),
        ({"server_key": public, "secret_key": pair.secret}, "not a bytes"),
    ):
        with pytest.raises(UsageError) as caught:
            connect(NOBODY, **given)
        assert said in str(caught.value)
        assert pair.secret.decode() not in str(caught.value)


def test_a_server_refuses_a_public_key_for_its_secret_one(pairs):
    service, public = ringback.Service("s"), pairs.public("server")
    for given, said in (
        (public, f"{public} has no secret key: give the file that ends in .key_secret"),
        (keys.read_secret(pairs.secret("server")).secret.decode(), "not the key itself"),
    ):
        with pytest.raises(UsageError, match=said) as caught:
            ringback.Server(service, NOBODY, secret_key=given, authorized_keys="any")
        assert keys.read_secret(pairs.secret("server")).secret.decode() not in str(caught.value)


def test_secret_keys_are_no_authorized_keys(pairs):
    service = ringback.Service("s")
    with pytest.raises(UsageError, match="must be a directory"):
        ringback.Server(
            service, NOBODY, **{**pairs.server, "authorized_keys": pairs.secret("server")}
        )
    pairs.make("alice")
    for name in ("alice.key_secret", "alice.key"):
        misplaced = pairs.authorized / name
        misplaced.write_bytes(pairs.secret("alice").read_bytes())
        with pytest.raises(UsageError, match=f"{misplaced} (is|holds) a secret key"):
            ringback.Server(service, NOBODY, **pairs.server)
        misplaced.unlink()


def test_a_secret_key_that_comes_to_the_authorized_ones_lets_nobody_in_and_is_logged(pairs, logged):
    pairs.make("alice", authorized=True)
    known = authorized.Authorized(pairs.authorized)
    pairs.make("bob")
    bob = keys.read_secret(pairs.secret("bob")).public
    (pairs.authorized / "bob.key").write_bytes(pairs.secret("bob").read_bytes())
    (pairs.authorized / "bob.key_secret").write_bytes(pairs.secret("bob").read_bytes())
    known.look()
    assert known.name_of(bob) is None
    assert list(known.names.values()) == ["alice"]
    assert "bob.key holds a secret key" in logged.text
    assert "bob.key_secret is a secret key" in logged.text


@pytest.mark.parametrize("command", ["call", "describe", "health", "top"])
def test_a_command_refuses_a_secret_key_for_a_public_one(run_program, pairs, command):
    words = (command, NOBODY, *(["add"] if command == "call" else []))
    ran = run_program("-m", "ringback", *words, "--server-key", str(pairs.secret("server")))
    assert ran.err == (
        f"ringback: {pairs.secret('server')} holds a secret key, where a public one belongs: "
        "give the file that ends in .key\n"
    )
    assert ran.status == 2


def test_options_that_belong_together_are_asked_for_together(pairs):
    service, secret = ringback.Service("s"), pairs.secret("server")
    for given, said in (
        ({"secret_key": secret}, "needs authorized_keys"),
        ({"authorized_keys": "any"}, "secret_key too"),
        ({**pairs.server, "insecure": True}, "insecure is for a server without CURVE"),
        ({**pairs.server, "authorized_keys": pairs.home / "nothing"}, "must be a directory"),
    ):
        with pytest.raises(UsageError, match=said):
            ringback.Server(service, NOBODY, **given)
    with pytest.raises(UsageError, match="server_key too"):
        connect(NOBODY, secret_key=secret)


def test_keys_are_not_for_what_is_within_one_process(pairs):
    with pytest.raises(UsageError, match="inproc://here is within one process"):
        connect("inproc://here", **pairs.make("alice"))
    with (
        pytest.raises(UsageError, match="inproc://here is within one process"),
        ringback.Server(
            ringback.Service("s"), "inproc://here", backend="threading", **pairs.server
        ),
    ):
        pass


def test_a_broken_file_among_the_authorized_keys_is_told_when_the_server_is_made(pairs):
    (pairs.authorized / "broken.key").write_text("hello")
    with pytest.raises(UsageError, match=r"broken.key is not a key file"):
        ringback.Server(ringback.Service("s"), NOBODY, **pairs.server)


def test_one_key_has_one_name(pairs):
    pairs.make("alice", authorized=True)
    pairs.authorize("alice", under="bob")
    with pytest.raises(UsageError, match=r"bob.key has the same key as alice.key"):
        ringback.Server(ringback.Service("s"), NOBODY, **pairs.server)


def test_the_commands_make_and_show_keys(run_program, tmp_path):
    made = run_program("-m", "ringback", "keys", "new", "here", "alice")
    assert made.status == 0, made
    shown = [
        run_program("-m", "ringback", "keys", "show", f"here/alice.{end}")
        for end in ("key", "key_secret")
    ]
    key = keys.read_public(tmp_path / "here" / "alice.key").decode()
    assert [each.out for each in shown] == [f"{key}\n"] * 2
    again = run_program("-m", "ringback", "keys", "new", "here", "alice")
    assert (again.status, len(again.err.splitlines())) == (1, 1)
    assert "there already" in again.err
