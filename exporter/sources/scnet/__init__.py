"""SCNet regions: connections, tokens and collectors."""
