"""Durations as people read them."""


def duration(seconds: float) -> str:
    """Minutes and seconds, and hours if there are any.

    >>> duration(83.4)
    '1:23'
    """
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
