"""What looks at workers and clients from outside: traces, metrics, and log lines that machines read.

Built on middleware and events alone, so none of it is in the way of the work; each needs an extra of its own, imported
where it is used. May import ``worker`` and what lies below it; it never changes anything of a run.
"""
