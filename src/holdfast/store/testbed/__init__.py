"""What a test does to a database of its own: stops its clock, moves it, looks whether anything is to be done.

The statements here fit a database whose clock was stopped; nothing of the engine may use them.
"""
