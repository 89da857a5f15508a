"""Gemini's generateContent: encoder and decoder."""
