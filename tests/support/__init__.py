"""What several test folders share: the recording engine and factories of plans."""
