"""The batch endpoints of Google's OpenAI compatibility layer."""
