"""Tests of the runtime docker; those against an engine skip where none answers."""
