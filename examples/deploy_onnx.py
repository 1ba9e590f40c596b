"""Deploy a compressed network: as ONNX, and in integer arithmetic.

`bayesian-bits` learns how many bits each weight tensor and each ReLU needs. The script compresses a
network so, and reads the file as a plain `nn.Module`. From that it makes an ONNX model and a
network that computes with integers alone. It runs the ONNX model in onnxruntime and compares all
three on the test images. It needs `pip install 'bitsback[onnx]'`. From a shell, in its folder:

    bitsback inspect net.bb
    bitsback export net.bb --to onnx --out net.onnx
"""

from pathlib import Path

import bitsback
import onnxruntime
import torch
from torch import nn

torch.set_num_threads(1)
torch.manual_seed(0)
data = bitsback.load_data("digits")
train, validation = ((part.x, part.y) for part in (data.train, data.validation))
net = bitsback.network("digits-mlp")  # trained here as anybody would
optimizer = torch.optim.Adam(net.parameters(), 1e-2)
for _update in range(200):
    optimizer.zero_grad()
    nn.functional.cross_entropy(net(train[0]), train[1]).backward()
    optimizer.step()
result = bitsback.compress_network(
    net, train, validation, "bayesian-bits", cost=0.3, epochs=40, effort=1
)
result.save("net.bb")

small = bitsback.load("net.bb")
bitsback.save_onnx(small, "net.onnx")
session = onnxruntime.InferenceSession("net.onnx", providers=["CPUExecutionProvider"])
x, y = data.test.x, data.test.y
(logits,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
with torch.no_grad():
    predictions = {
        "nn.Module": small(x).argmax(1),
        "ONNX": torch.from_numpy(logits).argmax(1),
        "integers": bitsback.to_integer(small)(x).argmax(1),
    }
for name in ("net.bb", "net.onnx"):
    print(f"{name:9} {Path(name).stat().st_size:6} bytes")
print("           test error, %    other predictions than the nn.Module")
for name, predicted in predictions.items():
    wrong = 100 * (predicted != y).float().mean().item()
    others = int((predicted != predictions["nn.Module"]).sum())
    print(f"{name:9} {wrong:14.1f} {others:39}")
    assert wrong < 15 and others <= 3, name
