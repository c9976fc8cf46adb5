"""boto3 asking Bedrock to count: `counts.py MODEL…`. What each model's count is, is told."""

import json
import sys

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
from telling import tell

client = boto3.client("bedrock-runtime", region_name="us-east-1", config=Config(retries={"total_max_attempts": 1}))
body = {
    "anthropic_version": "bedrock-2023-05-31",
    "max_tokens": 9,
    "messages": [{"role": "user", "content": "Count me"}],
}

for model in sys.argv[1:]:
    try:
        asked = {"invokeModel": {"body": json.dumps(body).encode()}}
        tell(model, client.count_tokens(modelId=model, input=asked)["inputTokens"])
    except ClientError as error:
        tell(model, [error.response["ResponseMetadata"]["HTTPStatusCode"], error.response["Error"]["Code"]])
