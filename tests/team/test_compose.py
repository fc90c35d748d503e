"""The Compose files, as Docker reads them."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import jsonschema
import pytest

from stages.base import environment
from tests.helpers.project import SOURCE
from tests.helpers.services import COMPOSE, compose, variables

MINIO = SOURCE / "docker-compose.minio.yml"
SERVICES = compose({})["services"]
LASTING = {name: service for name, service in SERVICES.items() if service.get("restart") != "no"}


@pytest.mark.parametrize("path", [COMPOSE, MINIO], ids=lambda path: path.name)
def test_it_is_a_compose_file(path: Path) -> None:
    schema = files("check_jsonschema.builtin_schemas.vendor") / "compose-spec.json"
    jsonschema.Draft7Validator(json.loads(schema.read_text(encoding="utf-8"))).validate(compose({}, path))


@pytest.mark.parametrize("paths", [[COMPOSE], [COMPOSE, MINIO]], ids=["rustfs", "minio"])
def test_docker_compose_reads_it_as_the_tests_do(paths: Sequence[Path]) -> None:
    named = [word for path in paths for word in ("-f", str(path))]
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("docker compose is not on this machine")
    command = [docker, "compose", *named, "--profile", "auth", "--env-file", os.devnull, "config", "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    read = json.loads(done.stdout)["services"]
    expected = SERVICES | {
        name: SERVICES[name] | service for name, service in compose({}, paths[-1])["services"].items()
    }
    assert set(read) == set(expected)
    for name, service in expected.items():
        for key in ("image", "command", "environment"):
            assert read[name].get(key) == service.get(key)


def test_every_port_is_bound_to_loopback() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(ports) == 6
    assert all(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for port in ports)


@pytest.mark.parametrize("name", sorted(LASTING))
def test_a_server_is_checked_restarted_and_keeps_its_logs_short(name: str) -> None:
    service = SERVICES[name]
    assert service["healthcheck"]["test"][0] == "CMD"
    assert service["restart"] == "unless-stopped"
    assert service["logging"] == {"driver": "local"}


def test_a_service_waits_until_its_dependencies_are_ready() -> None:
    for service in SERVICES.values():
        for name, condition in service.get("depends_on", {}).items():
            once = SERVICES[name]["restart"] == "no"
            assert condition["condition"] == ("service_completed_successfully" if once else "service_healthy")


def test_data_is_in_named_volumes() -> None:
    for path in (COMPOSE, MINIO):
        file = compose({}, path)
        mounts = [mount for service in file["services"].values() for mount in service.get("volumes", [])]
        assert {mount.partition(":")[0] for mount in mounts} == set(file["volumes"])


def test_images_that_are_pulled_are_pinned() -> None:
    pulled = [service for service in SERVICES.values() if service.get("pull_policy") != "never"]
    for service in [*pulled, *compose({}, MINIO)["services"].values()]:
        assert re.search(r":[^:]*\d+[.-]\d+", service["image"])


def test_one_image_is_built_once_from_the_pins_and_named_after_them() -> None:
    built = [service for service in SERVICES.values() if "build" in service]
    assert len(built) == 1
    recipe = built[0]["build"]["dockerfile_inline"]
    (copied,) = re.findall(r"^COPY (?:--\S+ )?(.*) \./$", recipe, re.M)
    content = [(SOURCE / name).read_text(encoding="utf-8") for name in copied.split()]
    digest = hashlib.sha256("".join([recipe, *content]).encode()).hexdigest()[:12]
    assert built[0]["image"] == f"person-detection-services:{digest}", "write this tag into docker-compose.yml"
    users = [service for service in SERVICES.values() if service.get("pull_policy") == "never"]
    assert {service["image"] for service in users} == {built[0]["image"]}
    pins = set(re.findall(r"^([\w-]+)==", "\n".join(content), re.M))
    packages = recipe.partition("requirements-dev.txt \\\n")[2].partition("\n")[0].split()
    assert packages
    assert set(packages) <= pins


def test_env_example_lists_every_variable_with_its_default() -> None:
    lines = re.findall(r"^#?([A-Z][A-Z0-9_]+)=(.*)$", (SOURCE / ".env.example").read_text(encoding="utf-8"), re.M)
    listed = {name: value for name, value in lines if name not in environment.NAMES}
    defaults = {**variables(COMPOSE), **variables(MINIO)}
    assert set(listed) == set(defaults)
    assert {name for name, _ in lines} - set(listed) == set(environment.NAMES)
    inside = [pair for _, value in lines for pair in re.findall(r"\$\{(\w+):-([^}]*)\}", value)]
    assert inside
    assert [(name, default) for name, default in inside if defaults[name] != default] == []
    free = {"MLFLOW_ALLOWED_HOSTS", "MLFLOW_ALLOWED_ORIGINS"}  # examples of the user's own host name
    assert {name: listed[name] for name in set(listed) - free} == {
        name: defaults[name] for name in set(defaults) - free
    }


def test_files_with_credentials_are_ignored_and_the_remote_has_none() -> None:
    config = (SOURCE / ".dvc" / "config").read_text(encoding="utf-8")
    assert not re.search(r"access_key|secret|password", config)
    ignored = subprocess.run(
        ["git", "check-ignore", ".env", ".dvc/config.local"], cwd=SOURCE, capture_output=True, check=False
    )
    assert ignored.stdout.split() == [b".env", b".dvc/config.local"]
