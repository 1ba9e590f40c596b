"""Writes compression/graph_primed.bin: the statistics after the primer, so that nobody learns them.

Only with a new primer; see make_primer.py.
"""

from bitsback.compression.describe_graph import learn
from bitsback.compression.graph_primed import FILE, to_bytes
from bitsback.compression.graph_primer import PRIMER

if __name__ == "__main__":
    FILE.write_bytes(to_bytes(learn(PRIMER)))
