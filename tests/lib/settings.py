"""The settings of src/snapshot/settings.def, and which tests are about them."""
import os
import re

from .lintel import ROOT

TESTS = os.path.join(ROOT, "tests/system")
with open(os.path.join(ROOT, "src/snapshot/settings.def"), encoding="utf-8") as table:
    # (option, type, default)
    SETTINGS = re.findall(r'^SETTING\(\w+, "([\w-]+)", (\w+), "[^"]*", "([^"]*)"', table.read(),
                          re.MULTILINE)


def covers(*options):
    """Says that a test is about these settings (and options like them), at their limits and beyond."""
    assert options
    return lambda test: test


def settings_covered():
    """Those that some test says to be about."""
    found = set()
    for name in os.listdir(TESTS):
        if name.endswith(".py"):
            with open(os.path.join(TESTS, name), encoding="utf-8") as file:
                for options in re.findall(r"^@covers\(([^)]*)\)", file.read(), re.MULTILINE):
                    found |= set(re.findall(r'"([^"]+)"', options))
    return found
