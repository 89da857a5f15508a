"""Gemini's generateContent: encoder of requests and decoder of answers."""
