"""Procrastinate, over PostgreSQL."""
