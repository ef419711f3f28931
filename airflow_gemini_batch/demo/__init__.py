"""``gemini-batch demo``: a real table goes through a real Airflow to the emulator and back, on a machine without a key."""
