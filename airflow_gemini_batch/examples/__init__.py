"""What the example DAGs in ``dags/`` work on; a wheel carries these DAGs here, beside it."""
