"""What developers need: pinned Go tools, one module each, and programs that generate committed files.

What does not live here: anything that ships; ``rehearsal.tools`` builds the Go modules.
"""
