"""How long a result may take before its test fails."""

from __future__ import annotations

from datetime import timedelta

SOON = timedelta(seconds=20)
