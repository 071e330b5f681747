"""Data in, registered models out."""
