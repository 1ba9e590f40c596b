"""What a compressed file can be refused for. Both are `ValueError`s with a one-line message."""


class CorruptFile(ValueError):
    """The bytes are not a complete, unaltered bitsback file within the documented limits."""


class UnsupportedVersion(CorruptFile):
    """The file is whole, but was written by a newer bitsback."""
