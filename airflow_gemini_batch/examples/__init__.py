"""The input table of the example DAGs in ``dags/``. A wheel contains these DAGs in this folder."""
