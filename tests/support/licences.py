"""List the licences of the packages that requirements.txt brings in, as far as they are installed here.

Usage: python -m tests.support.licences
"""

from __future__ import annotations

import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution

from packaging.requirements import Requirement

from tests.support.project import ROOT


def requirements(lines: list[str]) -> list[Requirement]:
    """Return the requirements of ``lines`` that hold on this machine."""
    parsed = [Requirement(line) for line in lines if line.strip() and not line.startswith("#")]
    return [requirement for requirement in parsed if not requirement.marker or requirement.marker.evaluate()]


def installed_closure(open_requirements: list[Requirement]) -> dict[str, Distribution]:
    """Return every installed package that the requirements need, directly or not, by name."""
    closure: dict[str, Distribution] = {}
    while open_requirements:
        requirement = open_requirements.pop()
        try:
            package = distribution(requirement.name)
        except PackageNotFoundError:  # of an extra that nobody asked for
            continue
        if package.name not in closure:
            closure[package.name] = package
            needed = (Requirement(line) for line in package.requires or ())
            extras = {"extra": next(iter(requirement.extras), "")}
            open_requirements += [need for need in needed if not need.marker or need.marker.evaluate(extras)]
    return dict(sorted(closure.items(), key=lambda item: item[0].lower()))


def licence(package: Distribution) -> str:
    """Return the licence that a package declares, from the newest of the three fields that it may stand in."""
    classifiers = [
        line.rpartition(" :: ")[2]
        for line in package.metadata.get_all("Classifier", [])
        if line.startswith("License ::")
    ]
    stated = package.metadata.get("License-Expression") or ", ".join(classifiers) or package.metadata.get("License", "")
    return stated.strip().splitlines()[0] if stated.strip() else "not declared"


if __name__ == "__main__":
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    for name, package in installed_closure(requirements(lines)).items():
        sys.stdout.write(f"{name} {package.version}: {licence(package)}\n")
