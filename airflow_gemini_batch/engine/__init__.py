"""The engine: Gemini, Arrow and object storage, laid out along the way of the data.

source -> requests -> shards -> upload -> job -> wait -> download -> responses -> results | dead_letter -> summary

Nothing in here imports Airflow, so all of it works from a notebook; ``trip`` is the one room that knows all the others.
"""
