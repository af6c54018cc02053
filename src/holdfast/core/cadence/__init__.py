"""When a schedule is due: cron expressions, intervals and readable text, all read into one pure value.

A value gives the tick after a moment and the tick before it; it has no clock, and knows nothing of runs. It may import
``core`` only.
"""

from holdfast.core.cadence.cadence import Cadence, Span, jitter_of, next_ticks, read_cadence
from holdfast.core.cadence.cron import Cron
from holdfast.core.cadence.every import EPOCH, Every

__all__ = ["EPOCH", "Cadence", "Cron", "Every", "Span", "jitter_of", "next_ticks", "read_cadence"]
