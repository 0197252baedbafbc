"""Kinesis to Kafka: one record processor, run by Amazon's MultiLangDaemon or by a driver in this process."""
