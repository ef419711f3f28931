"""Webhooks of the Gemini API, from the signature to the knock that wakes whoever waits for the job. Knows nothing of Airflow.

    settings -> receiver -> signatures (keys) -> events -> notifications

What a webhook says is a hint and no more: it makes somebody look at the job sooner, and what the service answers then counts.
"""
