"""How old the dated prices are: what is older than ``STALE_DAYS`` is said, never refused."""

from __future__ import annotations

from datetime import date

from sizing.catalogue.files import dated_file
from sizing.catalogue.refresh import REFRESH

STALE_DAYS = 90
PRICED = ("instances", "prices")
"""Files of the catalogue whose prices make up a bill; the others show their own date where they are used."""


def stale_prices(today: date) -> tuple[str, ...]:
    """Return one line for each price file that is older than ``STALE_DAYS`` on ``today``."""
    found = []
    for name in PRICED:
        document = dated_file(name)
        days = (today - date.fromisoformat(document["date"])).days
        if days > STALE_DAYS:
            found.append(f"prices of {name}.json are {days} days old (limit {STALE_DAYS}); {REFRESH}")
    return tuple(found)
