import sys

from airflow_gemini_batch.cli import main

sys.exit(main())
