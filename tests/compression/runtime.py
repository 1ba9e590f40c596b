"""onnxruntime for the tests: one thread, as it is by default but for that."""

import onnx
import onnxruntime


def session(model: onnx.ModelProto, optimised: bool = True) -> onnxruntime.InferenceSession:
    """What runs a model; without optimisation every node is computed as it stands, in floats."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
