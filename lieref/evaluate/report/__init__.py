"""Reports: the numbers of a run, tables of several, and a page that says what they bear, in three forms."""

from lieref.evaluate.report.summary import Report, format_table, rich_table

__all__ = ["Report", "format_table", "rich_table"]
