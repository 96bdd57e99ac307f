"""What several renderers share: cells, bars, plots and Markdown.

What lives here: pieces without a document of their own. What does not: a page, which is a file beside this folder.
"""
