"""Postgres: where everything is kept. Functions take `session` first and never commit."""
