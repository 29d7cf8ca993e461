"""Makes the bucket for artifacts if it is missing. boto3 itself reads the address and the keys from AWS_*."""

import sys

import boto3

s3 = boto3.client("s3")
bucket_name = sys.argv[1]
if bucket_name not in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]:
    s3.create_bucket(Bucket=bucket_name)
