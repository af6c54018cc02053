"""The libraries through which users speak to the database: asyncpg, psycopg, SQLAlchemy, Django; a file for each.

A file gives a worker transactions of its library for transactional activities, and a client the way to speak inside a
transaction of the caller's own; the statements of the store are said over that library's connection. It may import
``store`` and what lies below. A library is imported when somebody uses it; nothing here decides anything about runs.
"""
