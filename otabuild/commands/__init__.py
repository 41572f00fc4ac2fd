"""The commands of `otabuild`, one module per group; they import what they need when they run."""
