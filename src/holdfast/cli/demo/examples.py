"""The app that the demo's workers serve: both examples as they are, and a ledger around their activities."""

from __future__ import annotations

from holdfast.app import App
from holdfast.cli.demo import code_census, onboarding
from holdfast.cli.demo.ledger import keep_ledger
from holdfast.workflow.activity import Activity

app = App()
for example in (onboarding.app, code_census.app):
    app.include(example)
for definition in app.definitions.values():
    if isinstance(definition, Activity):
        keep_ledger(definition)
