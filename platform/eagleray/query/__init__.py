"""Asking a run in words: an index of a split, made once, and answers from it without a network."""

from eagleray.query.answers import Answer, show_answer, write_answer
from eagleray.query.index import Index, make_index

__all__ = ["Answer", "Index", "make_index", "show_answer", "write_answer"]
