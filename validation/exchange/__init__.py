"""Adapters of other libraries: read from them, written for them, and compared with what they compute."""
