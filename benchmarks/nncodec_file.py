"""NNCodec (ISO/IEC 15938-17) on a state_dict, to be run in an environment of its own.

    python benchmarks/nncodec_file.py WEIGHTS FOLDER QP [QP ...]

Needs nncodec 2.1.3, numpy < 2, torch and safetensors; it is built from source with a C++ compiler.
torchvision, OpenCV and pandas, which it imports without need here, are left out. For each QP it
writes what comes back from the file as FOLDER/<QP>.safetensors, and prints the QP and the bytes of
the file.
"""

import sys
import tempfile
from pathlib import Path
from unittest.mock import MagicMock

for missing in ("torchvision", "torchvision.models", "torchvision.transforms", "cv2", "pandas"):
    sys.modules.setdefault(missing, MagicMock())

import numpy as np  # noqa: E402
from nncodec.nn import decode, encode  # noqa: E402
from safetensors.numpy import load_file, save_file  # noqa: E402


def main() -> None:
    weights, folder = (Path(name) for name in sys.argv[1:3])
    state = {name: value for name, value in load_file(weights).items() if value.dtype == np.float32}
    with tempfile.TemporaryDirectory() as results:
        for qp in map(int, sys.argv[3:]):
            options = {"qp": qp, "use_dq": True, "sparsity": 0, "verbose": False}
            data = encode(dict(state), args=options | {"results": results, "model": "net"})
            found = {name: np.asarray(value, np.float32) for name, value in decode(data).items()}
            save_file(found, folder / f"{qp}.safetensors")
            print(qp, len(data), flush=True)


if __name__ == "__main__":
    main()
