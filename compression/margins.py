"""The margins that `compress` has by default; without torch, for help texts."""

MARGIN_NLL = 0.003  # nats: the less noisy of the two, so the tighter
MARGIN_ERROR = 0.2  # percentage points
