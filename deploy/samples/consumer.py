"""A consumer of a fan-out: hears of deliveries on an SQS queue, and keeps a copy of the files in a folder.

    consumer.py QUEUE-URL FOLDER

The queue is one of the RepoFanout's `notifications.subscribers`, with `rawMessageDelivery` and a `filterPolicy` on one of the
announcement's attributes, such as `repository`: AWS's own notifications have none, and stay out. Of the same delivery it may hear twice.
"""

import json
import pathlib
import sys

import boto3


def main(queue, folder):
    sqs, s3 = boto3.client("sqs"), boto3.client("s3")
    while True:
        for message in sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=20).get("Messages", []):
            delivery = json.loads(message["Body"])
            changed, deleted = follow(s3, delivery, pathlib.Path(folder))
            commit = delivery["commit"]
            print(f"{commit['id'][:7]} {commit['message']}: {changed} changed, {deleted} deleted in s3://{delivery['bucket']}/{delivery['prefix']}", flush=True)
            sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])


def follow(s3, delivery, folder):
    """Fetches what changed, or everything where that is not told; answers how many changed, and were deleted."""
    bucket, prefix = delivery["bucket"], delivery["prefix"] + "/"
    changes = delivery.get("changes")
    if changes is None or changes["truncated"]:
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        changed, deleted = [item["Key"] for page in pages for item in page.get("Contents", [])], []
    else:
        changed, deleted = changes["changed"], changes["deleted"]
    for key in changed:
        path = folder / key.removeprefix(prefix)
        path.parent.mkdir(parents=True, exist_ok=True)
        s3.download_file(bucket, key, str(path))
    for key in deleted:
        (folder / key.removeprefix(prefix)).unlink(missing_ok=True)
    return len(changed), len(deleted)


if __name__ == "__main__":
    main(*sys.argv[1:])
