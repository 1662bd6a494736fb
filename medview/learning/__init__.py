"""Training and evaluation of models; runs in a process of its own."""
