"""Keys, chains and trust."""
