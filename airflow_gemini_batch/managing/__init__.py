"""``gemini-batch jobs``, ``files`` and ``cleanup``: what the service holds, from a shell."""
