"""Everything about running models: cards, adapters, the worker process and its client."""
