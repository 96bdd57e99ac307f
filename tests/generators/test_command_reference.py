"""The generated page of the command."""

from __future__ import annotations

from tools.generators import command_reference as reference


def test_the_reference_page_is_what_help_says() -> None:
    assert reference.PAGE.read_text(encoding="utf-8") == reference.page(), "run `make docs`"
    assert reference.ARCHITECTURES.read_text(encoding="utf-8") == reference.architectures(), "run `make docs`"


def test_every_verb_of_the_contract_is_on_the_page() -> None:
    page = reference.PAGE.read_text(encoding="utf-8")
    for verb in ("size", "plan", "throughput", "preview", "rehearse", "measure", "catalogue show"):
        assert f"## tonnage {verb}\n" in page
