"""Name the size of the file, and training finds how much a bit is worth.

`rate` moves beta during training until the file has the wanted number of bytes. Three sizes give
three points of the rate-distortion curve. The script draws them in target-size.svg. The same from a
shell, for one of the sizes:

    bitsback compress --network digits-mlp --method rate --target-bytes 400 --epochs 30 \
        --kl-warmup 10 --effort 1
"""

import bitsback
import torch
from matplotlib import pyplot
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


def error(network: nn.Module) -> float:
    """Test error in percent."""
    with torch.no_grad():
        return 100 * (network(data.test.x).argmax(1) != data.test.y).float().mean().item()


points = []
print(f"the network given: {error(net):.1f} % test error")
print("wanted, bytes    file, bytes    test error, %")
for wanted in (150, 250, 400):
    result = bitsback.compress_network(
        net, train, validation, "rate", target_bytes=wanted, epochs=30, kl_warmup=10, effort=1
    )
    points.append((len(result.data), error(result.network)))
    print(f"{wanted:13}{points[-1][0]:15}{points[-1][1]:17.1f}")
    assert abs(points[-1][0] / wanted - 1) < 0.15 and points[-1][1] < 15

figure, axes = pyplot.subplots(figsize=(6, 3.5), layout="constrained")
axes.plot(*zip(*points, strict=True), "o-")
axes.set(xscale="log", xlabel="bytes of the file", ylabel="test error, %")
figure.savefig("target-size.svg")
