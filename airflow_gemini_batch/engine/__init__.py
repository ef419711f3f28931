"""The engine: knows Gemini, Arrow and object storage, imports nothing of Airflow, and works from a notebook.

    source -> request -> build -> submit -> wait -> response -> collect -> finish

Each step is a folder. An import points to an earlier step or to the base below them; only ``passes``, ``advance``, ``api`` and
``cleanup`` know all of them.
"""
