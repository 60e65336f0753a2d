"""The pictures of docs/concepts/architecture.md are true: the folders there are, and who may import whom."""

import re
import tomllib

from tests.docs.blocks import ROOT, blocks

PACKAGE = ROOT / "src" / "expunge"
FLOW, HOUSE, FLOORS = (block.text for block in blocks(ROOT / "docs" / "concepts" / "architecture.md")[:3])
ROOMS = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}


def test_the_flow_goes_through_rooms():
    assert set(FLOW.splitlines()[0].split(" ──► ")[1:]) <= ROOMS


def test_the_house_has_the_rooms_that_there_are():
    assert set(re.findall(r"^  (\w+)/", HOUSE, re.MULTILINE)) == ROOMS


def test_the_floors_are_those_of_the_import_contract():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    contracted = [{room for room in re.findall(r"\w+", layer) if room in ROOMS} for layer in layers]
    drawn = [set(re.findall(r"\w+", line)) for line in FLOORS.splitlines()]
    assert drawn == [floor for floor in contracted if floor]
