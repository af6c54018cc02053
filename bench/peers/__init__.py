"""The benchmarks against peers: the same errands for Holdfast and for what a Python user would pick instead.

``./dev bench --peers`` makes an environment for the peers, measures everybody on one server in one sitting, and writes
a table, a JSON document and ``docs/benchmarks.md``. Each system has an adapter in ``adapters/``, a program that runs in
the peers' environment and speaks lines of JSON (``protocol.py``); Holdfast has one too, and is measured by the same
code. What adapters import (``adapter.py``, ``errand.py``, ``protocol.py``, ``tally.py``, ``bench/crowd.py``) needs the
standard library alone. The counts that say whether the work was really done are taken from the systems' own tables
(``counts/``).
"""
