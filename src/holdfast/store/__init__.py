"""The only place with SQL: ``.sql`` files with named queries beside the verbs that use them; rows become values here.

A store function is one statement and one sentence, takes the session first, and neither opens nor commits a
transaction. It may import ``core`` alone (and asyncpg); it decides nothing.
"""
