"""Which shards are missing, who makes them, and how it stands: everything that knows of schedulers and people."""
