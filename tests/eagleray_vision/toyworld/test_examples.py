"""The examples in the doc strings run and print what they say."""

import doctest
import importlib
import pkgutil

import pytest

import eagleray_vision.toyworld as package

MODULES = [entry.name for entry in pkgutil.iter_modules(package.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_the_module_run(name):
    module = importlib.import_module(f"{package.__name__}.{name}")
    assert doctest.testmod(module).failed == 0


def test_there_are_examples():
    finder = doctest.DocTestFinder()
    modules = (importlib.import_module(f"{package.__name__}.{name}") for name in MODULES)
    assert sum(len(test.examples) for module in modules for test in finder.find(module)) >= 8
