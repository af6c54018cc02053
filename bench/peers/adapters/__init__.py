"""One program per system, run in the peers' environment: ``python -m bench.peers.adapters.NAME client|worker JSON``.

An adapter says how its system starts jobs, waits for them and runs them, and nothing about what is measured. It uses
the system as its documentation says, with the settings that ``bench/peers/catalogue.py`` names and the report prints.
"""
