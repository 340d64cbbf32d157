"""Numbers as messages say them."""


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """Return `1 job` or `1,200 jobs`; `plural` replaces the noun and its s."""
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"
