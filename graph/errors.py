"""What goes wrong with a graph."""


class Untraceable(ValueError):
    """A network that no graph can be made of; the message says which operator stood in the way."""
