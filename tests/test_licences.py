"""Nobody gets a GPL package by installing covidmt: what it requires without extras is of other licences."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.metadata import Distribution, PackageNotFoundError, distribution

from packaging.requirements import Requirement

# Weak copyleft (LGPL), which may be used unchanged beside software of any licence.
LESSER: set[str] = set()

# Packages whose metadata name no licence.
UNNAMED = {
    "huey": "MIT",
    "cuda-toolkit": "NVIDIA's; torch asks for it; empty, it names NVIDIA's other packages",
}


def mandatory(name: str) -> dict[str, Distribution]:
    """What a package requires here, and what these require, without extras that nobody asks for."""
    found: dict[str, Distribution] = {}
    pending = [Requirement(name)]
    while pending:
        wanted = pending.pop()
        try:
            installed = distribution(wanted.name)
        except PackageNotFoundError:
            continue
        key = installed.metadata["Name"].lower()
        if key in found and not wanted.extras:
            continue
        found[key] = installed
        for line in installed.requires or []:
            requirement = Requirement(line)
            extras = {"", *wanted.extras}
            if requirement.marker is None or any(requirement.marker.evaluate({"extra": extra}) for extra in extras):
                pending.append(requirement)
    return found


def licences(installed: Distribution) -> str:
    """What a package's metadata says of its licence; of a whole text its beginning."""
    about = installed.metadata
    classifiers = [line for line in about.get_all("Classifier") or [] if line.startswith("License")]
    return " | ".join([about.get("License-Expression") or "", (about.get("License") or "")[:200], *classifiers])


def of_the_gpl(packages: Iterable[Distribution]) -> set[str]:
    """Names of the packages that are under the GPL or AGPL alone, or under the LGPL."""
    refused = set()
    for installed in packages:
        text = licences(installed)
        if re.search(r"GPL|GNU .*General Public|Affero", text) and not re.search(r"\b(MIT|BSD|Apache)\b", text):
            refused.add(installed.metadata["Name"].lower())
    return refused


def test_nothing_mandatory_is_gpl():
    packages = mandatory("covidmt")
    assert {"torch", "lightning", "mlflow", "pydicom", "imagecodecs"} <= packages.keys()
    assert len(packages) > 80
    assert "pylibjpeg-libjpeg" not in packages
    refused = of_the_gpl(packages.values()) - LESSER
    assert not refused, {name: licences(packages[name]) for name in refused}


def test_every_mandatory_package_names_its_licence():
    unnamed = {name for name, package in mandatory("covidmt").items() if not licences(package).strip(" |")}
    assert unnamed <= UNNAMED.keys()
