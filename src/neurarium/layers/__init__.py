"""Building blocks: modules that networks are made of, beyond torch's own."""

__all__: list[str] = []
