"""Third-party operators: the half that any cluster can take, and the half that AWS adds to it."""
