"""Markdown for a terminal: cleaned text, blocks, rows of cells; streamed without ever parsing a finished block twice.

text -> `clean.Cleaner` -> `stream.Document` -> blocks (`blocks`) -> rows at a width (`layout`)
"""
