"""Rows of an OpenAI batch file become Gemini requests."""
