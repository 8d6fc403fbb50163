"""Celery, over Redis or RabbitMQ."""
