"""The native format's codec: MessagePack, with every Python type kept exactly."""
