"""Dramatiq, over Redis or RabbitMQ."""
