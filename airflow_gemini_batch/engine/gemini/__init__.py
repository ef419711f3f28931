"""The Gemini service: client, jobs, files, caches and webhooks."""
