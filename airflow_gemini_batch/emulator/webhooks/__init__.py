"""Registered webhooks, the webhooks of single jobs, and sending signed events to them."""
