"""Names keep to the limits of AWS and stay apart."""

from hypothesis import given
from hypothesis import strategies as st

from components.common.names import MOST_ROLE_NAME, at_most, with_digest

names = st.text("abcdefgh-", min_size=1, max_size=200)


@given(names)
def test_a_name_that_fits_stays_and_a_longer_one_is_cut_to_the_limit(name: str) -> None:
    cut = at_most(name, MOST_ROLE_NAME)
    assert cut == name if len(name) <= MOST_ROLE_NAME else len(cut) == MOST_ROLE_NAME


def test_long_names_with_the_same_beginning_stay_apart() -> None:
    assert at_most("a" * 80, 64) != at_most("a" * 81, 64)


def test_a_digest_follows_what_it_is_of_and_not_the_head() -> None:
    assert with_digest("pool", "g6.xlarge", 63) != with_digest("pool", "g6.2xlarge", 63)
    assert with_digest("pool", "g6.xlarge", 63).startswith("pool-")
