"""The border between the values of user code and what is stored: one import for all of it."""

from __future__ import annotations

from holdfast.core.parameters import Encoded, Parameters
from holdfast.core.returns import Returns
from holdfast.core.seal import Codec, Seal

__all__ = ["Codec", "Encoded", "Parameters", "Returns", "Seal"]
