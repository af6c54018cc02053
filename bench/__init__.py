"""The benchmarks: what the engine does in a second, how long a run takes, and how far that is from the bare database.

``python -m bench --list`` names the scenarios. Each is measured with a real worker process against a Postgres with full
durability, beside ``ceiling.py``, the same writes made by bare SQL on the same server in the same sitting: the ratio of
the two says what the engine costs, whatever the machine. Only the public interface of Holdfast is used; nothing in the
package imports this folder.
"""
