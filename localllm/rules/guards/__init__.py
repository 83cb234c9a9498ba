"""guards: prompt injection, personal data, secrets, profanity."""
