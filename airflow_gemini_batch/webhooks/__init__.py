"""Receives the Gemini API's webhooks: verifies signatures, and writes notifications for waiting tasks. Independent of Airflow.

    settings -> receiver -> signatures (keys) -> events -> notifications

A webhook is only a hint: it makes a waiting task fetch the job sooner. The task relies on the service's answer alone.
"""
