"""The check of an exported model: the optimisation under which onnxruntime runs it."""

import onnx
import pytest
import torch
from bitsback.compression.onnx_file import save_onnx
from torch import Tensor, nn


class Product(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randint(-1, 2, (32, 64), generator=generator) / 8)

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight


@pytest.mark.parametrize("steps", [5, 12])
def test_weights_of_two_bits_behind_a_matmul_are_exported(steps, tmp_path):
    """Extended optimisation would round the activations to 8 bits."""
    save_onnx(Product(), tmp_path / "a.onnx", example=torch.randn(3, steps, 32))
    model = onnx.load(tmp_path / "a.onnx")
    assert [node.op_type for node in model.graph.node][:2] == ["DequantizeLinear", "MatMul"]
