"""Pure values, states and policies. Imports nothing else of Holdfast; does no I/O, reads no clock, is never async."""
