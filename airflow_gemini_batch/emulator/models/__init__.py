"""Interactive calls, the list of models, cached contents, and checks of the files and caches that a request names."""
