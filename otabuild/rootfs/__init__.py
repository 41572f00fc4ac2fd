"""Every input becomes one stream of entries in path order; virtual transforms act on that stream."""
