"""Makes the bucket that is named on the command line, unless it is there."""

import os
import sys

import boto3
from botocore.exceptions import ClientError

client = boto3.client("s3", endpoint_url=os.environ["MLFLOW_S3_ENDPOINT_URL"])
try:
    client.head_bucket(Bucket=sys.argv[1])
except ClientError:
    client.create_bucket(Bucket=sys.argv[1])
