"""Coopery: Make for container tasks."""

__version__ = "0.1.0"
