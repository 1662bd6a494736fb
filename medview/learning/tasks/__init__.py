"""What can be learned: one module a kind of task, all with the same face to the loop."""
