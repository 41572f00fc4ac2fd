"""otabuild: over-the-air system images from recipes."""
