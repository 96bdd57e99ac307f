"""One rule per file: a pure function from resources to violations. No SDK, no plan, no clock."""
