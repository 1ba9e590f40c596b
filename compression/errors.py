"""What a file, or a search for one, is refused for: `ValueError`s with a one-line message."""


class CorruptFile(ValueError):
    """The bytes are not a complete, unaltered bitsback file within the documented limits."""


class UnsupportedVersion(CorruptFile):
    """The file is whole, but was written by a newer bitsback."""


class DropExceeded(ValueError):
    """No file that was tried predicts well enough; the message says how near the search came."""
