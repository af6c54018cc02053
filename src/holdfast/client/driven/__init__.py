"""Runs that are driven by hand: who has their code takes them, asks for one step after the other, and ends them.

A consumer has the runs that it took in hand as long as its heartbeat says so, and each of its writes carries the
receipt of the taking: who does not have a run in hand any more changes nothing. Nothing here executes anything.
"""

from holdfast.client.driven.consumer import DrivenConsumer
from holdfast.client.driven.run import DrivenRun
from holdfast.client.driven.step import Step, StepStatus
from holdfast.client.driven.workflows import Driven

__all__ = ["Driven", "DrivenConsumer", "DrivenRun", "Step", "StepStatus"]
