"""Every example in a docstring of prefjax runs and gives what it says."""

import doctest
import importlib
import pkgutil

import pytest

import prefjax

NAMES = [
    module.name
    for module in pkgutil.walk_packages(prefjax.__path__, "prefjax.")
    if not module.name.endswith("__main__")
]


@pytest.mark.parametrize("name", NAMES)
def test_examples(name):
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert not result.failed
