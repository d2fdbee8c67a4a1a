"""The OpenAI API and the many that speak it."""
