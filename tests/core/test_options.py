"""Settings: the documents' table is the presets', and every default has its reason."""

import dataclasses
import re
from pathlib import Path

import pytest

from xsixsa.errors import UsageError
from xsixsa.inference.flow import FlowOptions
from xsixsa.options import Options, preset
from xsixsa.summaries.autoencoder import AutoEncoderOptions

DOCS = Path(__file__).parents[2] / "docs" / "inference.md"
NETWORKS = ("autoencoder", "posterior", "refit")


def table():
    """Rows of the table of presets: setting -> the values of quick, standard and thorough, and the reason."""
    rows = re.findall(r"^\| `(\w+)` \|(.*?)\|(.*?)\|(.*?)\|(.*?)\|$", DOCS.read_text(), re.MULTILINE)
    return {name: [cell.strip() for cell in cells] for name, *cells in rows}


def test_table_of_presets_is_what_the_presets_are():
    rows = table()
    for field in dataclasses.fields(Options):
        if field.name in NETWORKS or field.name not in Options().as_dict():
            continue
        quick, standard, thorough, reason = rows[field.name]
        assert reason, field.name
        assert standard, field.name
        for name, cell in (("quick", quick), ("standard", standard), ("thorough", thorough)):
            assert str(getattr(preset(name), field.name)) == (cell or standard), (field.name, name)
    assert preset("quick").posterior == preset("thorough").posterior == FlowOptions()


@pytest.mark.parametrize("options", [Options, FlowOptions, AutoEncoderOptions])
def test_every_setting_is_documented(options):
    named = re.findall(r"^ {4}([a-z_, ]+) : ", options.__doc__, re.MULTILINE)
    documented = {name.strip() for group in named for name in group.split(",")}
    assert documented == {field.name for field in dataclasses.fields(options)}


def test_unknown_settings_are_named():
    with pytest.raises(UsageError, match="unknown option 'sims'"):
        Options().changed(sims=3)
    with pytest.raises(UsageError, match="unknown preset"):
        preset("fast")
    assert Options().changed(rounds=None) == Options()
