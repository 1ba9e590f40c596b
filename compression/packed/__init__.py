"""Any checkpoint as one file: `pack` and `unpack`, without a network's class and without data."""
