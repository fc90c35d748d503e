"""The bill of materials: the packages of a run, and the licences that they declare."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from typing import Any

import pytest

from tests.helpers.project import SOURCE

_spec = spec_from_file_location("sbom", SOURCE / "tools" / "sbom.py")
assert _spec is not None
assert _spec.loader is not None
sbom = module_from_spec(_spec)
_spec.loader.exec_module(sbom)


def component(name: str, *licences: dict[str, Any], version: str = "1") -> dict[str, Any]:
    return {"name": name, "version": version, "bom-ref": f"{name}=={version}", "licenses": list(licences)}


BILL: dict[str, Any] = {
    "bomFormat": "CycloneDX",
    "components": [component("Flask_X"), component("torch"), component("pytest")],
    "dependencies": [
        {"ref": "Flask_X==1", "dependsOn": ["pytest==1"]},
        {"ref": "pytest==1", "dependsOn": ["torch==1"]},
        {"ref": "torch==1", "dependsOn": ["Flask_X==1", "pytest==1"]},
    ],
}


def test_only_packages_of_a_run_are_kept_with_the_arrows_between_them() -> None:
    bill = sbom.only(BILL, {"flask-x", "torch"})
    assert bill["bomFormat"] == "CycloneDX"
    assert [entry["name"] for entry in bill["components"]] == ["Flask_X", "torch"]
    assert bill["dependencies"] == [{"ref": "Flask_X==1"}, {"ref": "torch==1", "dependsOn": ["Flask_X==1"]}]


def test_the_packages_of_a_run_are_those_of_the_pins_and_not_those_of_the_tests() -> None:
    names = sbom.pinned()
    assert {"torch", "ultralytics", "nvidia-nccl-cu13", "ruamel-yaml"} <= names
    assert not {"pytest", "cyclonedx-bom"} & names


@pytest.mark.parametrize(
    ("entries", "text"),
    [
        ([], "not declared"),
        ([{"license": {"id": "MIT"}}], "MIT"),
        ([{"expression": "MPL-2.0 AND MIT"}], "MPL-2.0 AND MIT"),
        ([{"license": {"name": "License :: OSI Approved :: BSD License"}}], "BSD License"),
        ([{"license": {"id": "MIT"}}, {"license": {"name": "License :: OSI Approved :: MIT"}}], "MIT"),
        ([{"license": {"id": "MIT"}}, {"license": {"id": "ZPL-2.1"}}], "MIT; ZPL-2.1"),
        ([{"license": {"name": "Some text\nof a page"}}], "Some text of a page"),
    ],
)
def test_the_licence_is_what_a_package_declares(entries: list[dict[str, Any]], text: str) -> None:
    assert sbom.licence(component("a", *entries)) == text


def test_the_report_counts_the_licences_and_lists_the_packages_by_name() -> None:
    mit = {"license": {"id": "MIT"}}
    lines = sbom.report([component("b", mit), component("A_c", mit), component("d")]).splitlines()
    assert "| MIT | 2 |" in lines
    assert "| not declared | 1 |" in lines
    assert lines[-3:] == ["| a-c | 1 | MIT |", "| b | 1 | MIT |", "| d | 1 | not declared |"]


@pytest.mark.slow
def test_the_bill_of_this_environment_is_valid_and_has_the_direct_packages() -> None:
    import json

    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    bill = sbom.only(sbom.installed(), sbom.pinned())
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(bill)) is None
    names = {sbom.normal(entry["name"]) for entry in bill["components"]}
    assert {"dvc", "mlflow", "optuna", "torch", "ultralytics"} <= names
    assert "pytest" not in names
