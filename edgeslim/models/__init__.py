"""Slimmable layers and networks, their sliced twins, checkpoints."""
