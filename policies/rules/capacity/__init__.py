"""Rules about nodes and what runs on them."""
