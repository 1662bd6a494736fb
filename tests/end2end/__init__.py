"""The program from outside, as its users start it."""
