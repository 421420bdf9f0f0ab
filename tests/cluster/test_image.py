"""The image: what it copies is there, and its versions are those of the pinned environment."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import torch
from packaging.specifiers import SpecifierSet

from eagleray.runs.environment import REVISION_VARIABLE

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "cluster" / "Dockerfile").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_what_it_copies_is_there():
    copied = [
        line.split()[1:-1] for line in TEXT.splitlines() if re.match(r"COPY (?!--from)", line)
    ]
    names = {name for names in copied for name in names}
    assert {"constraints.txt", "pyproject.toml", "platform", "tasks", "cuda_ops"} <= names
    assert all((ROOT / name).exists() for name in names)
    assert {PROJECT["readme"], *PROJECT["license-files"]} <= names, "the build reads them"


def test_its_python_and_its_extras_are_the_projects():
    version = re.search(r"^FROM python:([\d.]+)", TEXT, re.M)[1]
    assert SpecifierSet(PROJECT["requires-python"]).contains(f"{version}.0")
    extras = re.search(r"'\.\[([a-z0-9,]+)\]'", TEXT)[1].split(",")
    assert set(extras) <= set(PROJECT["optional-dependencies"])
    assert "--constraint constraints.txt" in TEXT


def test_dependencies_lie_in_a_layer_below_the_sources():
    lines = TEXT.splitlines()
    (install,) = [i for i, line in enumerate(lines) if "--constraint constraints.txt" in line]
    (sources,) = [i for i, line in enumerate(lines) if line.startswith("COPY platform")]
    assert install < sources
    assert any("--no-deps --editable ." in line for line in lines[sources:])


def test_it_holds_what_autoscalers_and_object_stores_need():
    extras = re.search(r"'\.\[([a-z0-9,]+)\]'", TEXT)[1].split(",")
    optional = PROJECT["optional-dependencies"]
    needs = {re.split(r"[>=<]", need)[0] for extra in extras for need in optional[extra]}
    assert {"boto3", "google-api-python-client", "gcsfs", "s3fs"} <= needs
    pinned = {line.split("==")[0] for line in (ROOT / "constraints.txt").read_text().split()}
    assert needs - {n for n in needs if n.startswith("eagleray")} <= pinned


def test_gpus_are_asked_for_and_the_code_says_its_revision():
    assert "NVIDIA_VISIBLE_DEVICES=all" in TEXT and "NVIDIA_DRIVER_CAPABILITIES" in TEXT
    assert f"ENV {REVISION_VARIABLE}=${{REVISION}}" in TEXT
    assert TEXT.index("ARG REVISION") > TEXT.index("COPY platform"), "it would end all layers"


def test_its_cuda_compiler_is_of_pytorchs_generation():
    (major,) = set(re.findall(r"(?:nvidia/cuda:|/usr/local/cuda-)(\d+)\.", TEXT))
    pinned = re.search(r"^torch==([\d.]+)", (ROOT / "constraints.txt").read_text(), re.M)[1]
    assert torch.__version__.startswith(pinned)
    if torch.version.cuda is not None:
        assert torch.version.cuda.split(".")[0] == major
