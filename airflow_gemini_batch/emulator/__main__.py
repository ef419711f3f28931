"""`python -m airflow_gemini_batch.emulator`."""

import sys

from airflow_gemini_batch.emulator.cli import main

sys.exit(main())
