"""A mark for tests that need a C compiler: without one they say so."""

import pytest
from bitsback.compression.c_library import compiler

needs_compiler = pytest.mark.skipif(
    compiler() is None, reason="NOT TESTED: there is no C compiler (cc) for the decoder in C"
)
