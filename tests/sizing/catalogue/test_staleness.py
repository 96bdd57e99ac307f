"""Prices older than 90 days are said to be so."""

from __future__ import annotations

from datetime import date, timedelta

from sizing.catalogue.files import dated_file
from sizing.catalogue.staleness import STALE_DAYS, stale_prices


def test_prices_are_stale_after_ninety_days_and_say_how_to_refresh_them() -> None:
    made = date.fromisoformat(max(dated_file(name)["date"] for name in ("instances", "prices")))
    assert stale_prices(made + timedelta(days=STALE_DAYS)) == ()
    late = stale_prices(made + timedelta(days=STALE_DAYS + 1))
    assert late[0].startswith("prices of instances.json are 91 days old (limit 90); ")
    assert [line.endswith("tonnage catalogue refresh") for line in late] == [True, True]
