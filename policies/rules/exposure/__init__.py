"""Rules about what can be reached, and by whom."""
