"""Machines of a Ray cluster: processes in network, process and mount namespaces of their own, joined by a bridge.

The head is also the machine of the driver. No machine reaches anything outside these namespaces.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

HEAD = "10.77.0.1"
PORT = 6379
RAY = Path(sys.executable).with_name("ray")


def missing() -> str:
    """Return why no cluster can be made here, or an empty text."""
    if not RAY.is_file():
        return "Ray is not installed: pip install -r requirements-ray.txt"
    if sys.platform != "linux" or not all(map(shutil.which, ("unshare", "nsenter", "ip"))):
        return "the machines of a test need Linux with unshare, nsenter and ip"
    allowed = subprocess.run([*_unshare(), "ip", "link", "set", "lo", "up"], capture_output=True, check=False)
    return "" if allowed.returncode == 0 else "this user may not make network namespaces"


def _unshare() -> list[str]:
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    return ["unshare", *user, "--net", "--pid", "--mount", "--uts", "--mount-proc", "--fork", "--kill-child"]


class Machine:
    """A machine: a process whose end ends all processes in its namespaces."""

    def __init__(self, name: str, address: str, environment: Mapping[str, str], hidden: Path | None = None) -> None:
        """Start the machine.

        Args:
            name: Its host name.
            address: Its address in the network.
            environment: Variables of its processes. HOME is one of them.
            hidden: A folder that it does not see.
        """
        self.name, self.address, self._environment = name, address, dict(environment)
        self.home = Path(environment["HOME"])
        hide = f"mount -t tmpfs none {hidden} && " if hidden else ""
        setup = f"hostname {name} && {hide}ip link set lo up && exec sleep 3600"
        self._holder = subprocess.Popen([*_unshare(), "sh", "-c", setup])
        deadline = time.monotonic() + 10
        while not (children := psutil.Process(self._holder.pid).children()) or children[0].name() != "sleep":
            assert time.monotonic() < deadline
            time.sleep(0.02)
        self.pid = children[0].pid

    def command(self, *words: str, folder: Path = Path("/")) -> list[str]:
        """Return a command that runs in a folder on this machine."""
        user = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
        spaces = ["--net", "--pid", "--mount", "--uts"]
        return ["nsenter", "--target", str(self.pid), *user, *spaces, "env", "-C", str(folder), *words]

    def run(self, *words: str, **more: Any) -> subprocess.CompletedProcess[str]:
        """Run a command on this machine to its end."""
        options = {"capture_output": True, "text": True, "check": True, "timeout": 120, "env": self._environment}
        return subprocess.run(self.command(*words), **{**options, **more})

    def processes(self, word: str) -> list[psutil.Process]:
        """Return the processes of this machine whose command has this word."""
        network = Path(f"/proc/{self.pid}/ns/net").readlink()
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                if Path(f"/proc/{process.pid}/ns/net").readlink() == network and word in " ".join(process.cmdline()):
                    found.append(process)
        return found

    def end(self) -> None:
        """Switch the machine off: all its processes die at once."""
        self._holder.send_signal(signal.SIGKILL)
        self._holder.wait()

    def unplug(self) -> None:
        """Pull the cable."""
        self.run("ip", "link", "set", "eth0", "down")


class Machines:
    """A head and the machines that have joined it."""

    def __init__(self, folder: Path, environment: Mapping[str, str], hidden: Path) -> None:
        self._folder, self._hidden = folder, hidden
        self._environment = {**environment, "RAY_USAGE_STATS_ENABLED": "0", "HOME": str(folder / "home")}
        self.head = Machine("head", HEAD, self._environment)
        for words in ("link add bridge type bridge", f"addr add {HEAD}/24 dev bridge", "link set bridge up"):
            self.head.run("ip", *words.split())
        self.others: list[Machine] = []

    @property
    def address(self) -> str:
        return f"{HEAD}:{PORT}"

    def start_head(self) -> None:
        more = ["--head", f"--port={PORT}", "--include-dashboard=false", f"--temp-dir={self._folder / 'ray'}"]
        self._start(self.head, *more, "--num-cpus=0", "--num-gpus=0")

    def add(self, name: str, cpus: int = 1, gpus: int = 0, **environment: str) -> Machine:
        """Let a machine join."""
        number = len(self.others) + 2
        home = self._folder / name
        home.mkdir()
        more = {"PERSON_DETECTION_CACHE": str(home / "cache"), "HOME": str(home), **environment}
        machine = Machine(name, f"10.77.0.{number}", {**self._environment, **more}, self._hidden)
        self.others.append(machine)
        wire = f"link add wire{number} type veth peer name eth0 netns {machine.pid}"
        for words in (wire, f"link set wire{number} master bridge", f"link set wire{number} up"):
            subprocess.run(_across(self.head, "ip", *words.split()), check=True)
        machine.run("ip", "addr", "add", f"{machine.address}/24", "dev", "eth0")
        machine.run("ip", "link", "set", "eth0", "up")
        self._start(machine, f"--address={self.address}", f"--num-cpus={cpus}", f"--num-gpus={gpus}")
        return machine

    def _start(self, machine: Machine, *more: str) -> None:
        memory = "--object-store-memory=200000000"
        machine.run(str(RAY), "start", f"--node-ip-address={machine.address}", "--disable-usage-stats", memory, *more)

    def end(self) -> None:
        for machine in [*self.others, self.head]:
            machine.end()


def _across(machine: Machine, *words: str) -> list[str]:
    """Return a command that has the network of a machine, and sees the processes of this one."""
    user = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
    return ["nsenter", "--target", str(machine.pid), *user, "--net", *words]


@contextmanager
def machines(environment: Mapping[str, str], hidden: Path) -> Iterator[Machines]:
    """Start the head of a cluster, and end all machines afterwards.

    Args:
        environment: Variables of all machines.
        hidden: A folder that only the head sees.
    """
    # The path is short: Ray's sockets are in it, and their paths may have 107 characters.
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp", ignore_cleanup_errors=True) as folder:
        (Path(folder) / "home").mkdir()
        cluster = Machines(Path(folder), environment, hidden)
        try:
            cluster.start_head()
            yield cluster
        finally:
            cluster.end()
