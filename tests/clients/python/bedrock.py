"""boto3 at Bedrock: Converse and InvokeModel, whole and streamed; a refusal; a stream that breaks off.

Credentials come from where boto3 looks for them: this program names none.
"""

import json

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
from telling import tell
from urllib3.exceptions import ProtocolError

MODEL = "anthropic.claude-3-5-haiku-20241022-v1:0"
client = boto3.client("bedrock-runtime", region_name="us-east-1", config=Config(retries={"total_max_attempts": 1}))


def ask(text):
    return {"modelId": MODEL, "messages": [{"role": "user", "content": [{"text": text}]}]}


def words(events):
    for event in events["stream"]:
        if "contentBlockDelta" in event:
            yield event["contentBlockDelta"]["delta"]["text"]
        elif "metadata" in event:
            yield event["metadata"]["usage"]


reply = client.converse(**ask("Hi"))
tell("whole", [reply["output"]["message"]["content"], reply["usage"], reply["stopReason"]])

stream = words(client.converse_stream(**ask("Hi")))
tell("first", next(stream))
tell("rest", list(stream))

body = json.dumps({"anthropic_version": "bedrock-2023-05-31", "max_tokens": 9, "messages": []})
reply = json.load(client.invoke_model(modelId=MODEL, body=body)["body"])
tell("invoked", [reply["content"][0]["text"], reply["usage"]])

chunks = client.invoke_model_with_response_stream(modelId=MODEL, body=body)["body"]
events = (json.loads(each["chunk"]["bytes"]) for each in chunks)
texts = (each["delta"]["text"] for each in events if each["type"] == "content_block_delta")
tell("first", next(texts))
tell("rest", list(texts))

try:
    client.converse(**ask("please refuse"))
except ClientError as error:
    tell(
        "refused",
        [
            type(error).__name__,
            error.response["ResponseMetadata"]["HTTPStatusCode"],
            error.response["Error"]["Message"],
        ],
    )

stream = words(client.converse_stream(**ask("please break")))
tell("first", next(stream))
try:
    tell("rest", list(stream))
except ProtocolError as error:
    tell("broken", type(error).__name__)
