"""The networks medview trains and ships, in plain torch."""
