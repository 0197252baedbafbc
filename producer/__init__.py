"""What puts events on Kinesis: a synthetic shop, and files of your own."""
