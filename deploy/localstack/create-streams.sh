#!/bin/sh
# LocalStack runs this when it is ready. It keeps nothing, so the streams are made at every start.
set -eu
for stream in customer-events transaction-events product-events system-logs; do
    awslocal kinesis create-stream --stream-name "$stream" --shard-count 2
    awslocal kinesis wait stream-exists --stream-name "$stream"
done
