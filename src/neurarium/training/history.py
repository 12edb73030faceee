"""What was measured after each epoch, by name."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


class History(dict[str, list[Any]]):
    """Lists of equal length, one entry an epoch: `history["val_loss"]`; None where not measured."""

    def append(self, row: dict[str, Any]) -> None:
        """Add one epoch's figures."""
        before = len(self)
        for name in row:  # not a set of names: the order of the columns must not vary
            self.setdefault(name, [None] * before)
        for name, values in self.items():
            values.append(row.get(name))

    def __len__(self) -> int:
        return max((len(values) for values in self.values()), default=0)

    def rows(self) -> list[dict[str, Any]]:
        """One mapping an epoch, without what was not measured then."""
        return [
            {name: values[i] for name, values in self.items() if values[i] is not None}
            for i in range(len(self))
        ]

    def frame(self) -> "pd.DataFrame":
        """The history as a table."""
        import pandas as pd

        return pd.DataFrame(dict(self))
