"""The vector store with its snapshots."""
