"""A local Gemini Batch API for demos, tests and DAG development without an API key.

The emulator is a stand-in for the service, not a mock inside our code. It speaks the service's wire protocol over HTTP. It
does not import Airflow or the engine, and they do not import it. Its answers are synthetic.
"""

from airflow_gemini_batch.emulator.control.remote import Remote
from airflow_gemini_batch.emulator.faults.kinds import Fault, FileFault, HttpFault, JobFault, ListingFault, RowFault, WebhookFault
from airflow_gemini_batch.emulator.options import Options
from airflow_gemini_batch.emulator.serving import Emulator, EmulatorProcess

__all__ = [
    "Emulator",
    "EmulatorProcess",
    "Fault",
    "FileFault",
    "HttpFault",
    "JobFault",
    "ListingFault",
    "Options",
    "Remote",
    "RowFault",
    "WebhookFault",
]
