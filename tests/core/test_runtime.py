"""Device, seeds, denormals."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from sa_mlops.core.runtime import DeviceError, make_generator, prepare, resolve_device, use_onednn

CPU = torch.device("cpu")


class TestDevice:
    def test_the_cpu_is_always_there(self) -> None:
        assert resolve_device("cpu") == CPU

    @pytest.mark.skipif(torch.cuda.is_available() or torch.backends.mps.is_available(), reason="has one")
    def test_auto_is_the_cpu_without_an_accelerator(self) -> None:
        assert resolve_device("auto") == CPU

    @pytest.mark.gpu
    @pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
    @pytest.mark.parametrize("name", ["auto", "cuda", "cuda:0"])
    def test_cuda_comes_first_where_there_is_one(self, name: str) -> None:
        assert resolve_device(name) == torch.device("cuda:0")

    @pytest.mark.parametrize("name", ["cuda:99", "tpu", "", "cuda:-1", "cpu:1"])
    def test_a_device_that_is_not_there_is_refused(self, name: str) -> None:
        with pytest.raises(DeviceError):
            resolve_device(name)


class TestGenerator:
    def draw(self, *purpose: object, seed: int = 0) -> list[float]:
        return torch.rand(4, generator=make_generator(CPU, seed, *purpose)).tolist()

    def test_another_seed_is_another_stream(self) -> None:
        assert self.draw("base", seed=1) != self.draw("base", seed=2)

    @pytest.mark.parametrize(
        ("a", "b"),
        [(("base",), ("fim",)), (("base",), ()), (("a", "b"), ("ab",)), ((1,), ("1",)), ((1, 2), ((1, 2),))],
        ids=["other name", "no purpose", "split names", "number and text", "nested"],
    )
    def test_no_two_purposes_share_a_stream(self, a: tuple[object, ...], b: tuple[object, ...]) -> None:
        assert self.draw(*a) != self.draw(*b)

    def test_a_seed_never_runs_into_the_purpose(self) -> None:
        assert self.draw(23, seed=1) != self.draw(3, seed=12)

    def test_torch_s_own_random_state_is_left_alone(self) -> None:
        torch.manual_seed(0)
        expected = torch.rand(1).item()
        torch.manual_seed(0)
        self.draw("base")
        assert torch.rand(1).item() == expected

    def test_the_seed_can_start_torch_s_own_stream(self) -> None:
        torch.manual_seed(make_generator(CPU, 0, "base").initial_seed())


class TestPreparation:
    @pytest.fixture(autouse=True)
    def _put_back(self) -> Iterator[None]:
        before = torch.get_float32_matmul_precision()
        yield
        torch.set_flush_denormal(False)
        torch.set_float32_matmul_precision(before)

    def test_denormals_are_flushed(self) -> None:
        if not torch.set_flush_denormal(True):
            pytest.skip("this CPU cannot")
        torch.set_flush_denormal(False)
        prepare(CPU)
        assert (torch.tensor([1e-39]) * 0.5).item() == 0.0

    @pytest.mark.parametrize("shape", [(512, 794, 512), (1024, 512, 784), (256, 8, 18), (784, 512, 256)])
    def test_products_are_as_exact_as_float32(self, shape: tuple[int, int, int]) -> None:
        prepare(CPU)
        m, k, n = shape
        a, b = torch.rand(m, k), torch.rand(k, n)
        torch.testing.assert_close((a @ b).double(), a.double() @ b.double(), rtol=1e-5, atol=0)

    def test_a_library_that_rounds_more_is_left_alone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sa_mlops.core.runtime.ONEDNN_ERROR", 0.0)
        before = torch.get_float32_matmul_precision()
        assert not use_onednn()
        assert torch.get_float32_matmul_precision() == before
