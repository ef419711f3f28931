"""``gemini-batch demo``: run a real table through a real Airflow and the emulator, on a machine without an API key."""
