import pytest
import torch

from core.bilevel.threads import SHARED, sized


@pytest.mark.parametrize(("multiplications", "inside"), [(SHARED - 1, 1), (SHARED, 2)])
def test_small_operators_run_on_one_thread(multiplications: int, inside: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with sized(multiplications):
            assert torch.get_num_threads() == inside
        assert torch.get_num_threads() == 2
        with pytest.raises(ZeroDivisionError), sized(multiplications):
            _ = 1 / 0
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
