"""Images: which base they begin with, their Dockerfiles, build contexts and archives."""

from __future__ import annotations
