"""The control API under `/emulator`, and its Python client."""
