"""The bucket that artifacts go to, made where it is missing. Place and keys are read from AWS_* by boto3 itself."""

import sys

import boto3

s3 = boto3.client("s3")
wanted = sys.argv[1]
if wanted not in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]:
    s3.create_bucket(Bucket=wanted)
