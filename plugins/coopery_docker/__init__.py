"""The runtime `docker`: images and tasks in an engine that speaks the Docker API."""

from __future__ import annotations
