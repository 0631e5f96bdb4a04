"""Work queues and broadcasts between the services."""
