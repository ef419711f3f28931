"""A Gemini Batch API on loopback, for demos, tests and DAG development without a key.

It is a stand-in for the service, not a mock inside our code: it speaks the service's wire protocol over HTTP, knows
neither Airflow nor the engine, and is known to neither. Its answers are synthetic.
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
