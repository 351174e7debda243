"""Events from NATS JetStream: pulled, handled, acknowledged or dead-lettered."""
