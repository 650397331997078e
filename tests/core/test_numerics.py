import pytest
import torch

from core.numerics import by_resources, numerics
from core.settings import prepare_process
from core.spec import Experiment
from core.spec.experiment import Resources


def now() -> tuple[bool, bool, bool]:
    matmul, cudnn = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    return matmul, cudnn, torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize("tf32", [False, True])
@pytest.mark.parametrize("deterministic", [False, True])
def test_torch_computes_as_the_spec_says_and_as_before_afterwards(tf32: bool, deterministic: bool) -> None:
    before = now()
    with numerics(Resources(tf32=tf32, deterministic=deterministic)):
        assert now() == (tf32, tf32, deterministic)
    assert now() == before


def test_a_run_that_fails_leaves_nothing_behind() -> None:
    before = now()

    @by_resources
    def run(spec: Experiment, factor: int) -> int:
        assert now() == (True, True, True)
        return factor // 0

    spec = Experiment.model_validate(
        {"problem": {"kind": "quadratic"}, "resources": {"tf32": True, "deterministic": True}}
    )
    with pytest.raises(ZeroDivisionError):
        run(spec, 1)
    assert now() == before


def test_deterministic_products_find_their_workspace() -> None:
    environment: dict[str, str] = {}
    prepare_process(2, environment)
    assert environment["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert environment["OMP_NUM_THREADS"] == environment["MKL_NUM_THREADS"] == "2"
    assert environment["OMP_WAIT_POLICY"] == "PASSIVE"
