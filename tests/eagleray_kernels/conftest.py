import pytest

import eagleray_kernels as kernels


@pytest.fixture(params=["compiled", "twin"])
def implementation(request):
    """Runs a test once on the compiled operators and once on their twins."""
    if request.param == "compiled" and kernels.build.obstacle("cpu"):
        pytest.skip(kernels.build.obstacle("cpu"))
    with kernels.implementation(request.param):
        yield request.param


@pytest.fixture
def compiled():
    """Runs a test on the compiled operators alone."""
    if kernels.build.obstacle("cpu"):
        pytest.skip(kernels.build.obstacle("cpu"))
    with kernels.implementation("compiled"):
        yield
