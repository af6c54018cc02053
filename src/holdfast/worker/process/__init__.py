"""Activities in processes of their own: a pool on the worker's side, and what runs inside of each process.

May import what a worker may. Nothing is pickled: functions are found by their names, values travel as the JSON texts
that are stored. A process ends with its worker, however that ended.
"""
