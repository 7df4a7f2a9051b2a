"""Small helpers that need nothing but the standard library and NumPy."""
