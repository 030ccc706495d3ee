"""Adapters written for others: one file a format, and the table of them in `lieref.adapter.out.registry`."""
