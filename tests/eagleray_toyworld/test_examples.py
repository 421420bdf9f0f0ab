"""The examples in the doc strings run and print what they say."""

import doctest
import importlib
import pkgutil

import pytest

import eagleray_toyworld as package

MODULES = [m.name for m in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_the_module_run(name):
    module = importlib.import_module(name)
    assert doctest.testmod(module).failed == 0


def test_there_are_examples():
    finder = doctest.DocTestFinder()
    modules = (importlib.import_module(name) for name in MODULES)
    assert sum(len(test.examples) for module in modules for test in finder.find(module)) >= 8
