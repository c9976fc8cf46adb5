"""Four SDKs, one call each, with the keys that the environment has for them; boto3 once more with a signature."""

import os

import boto3
import cohere
import ollama
from botocore.config import Config
from mistralai.client import Mistral
from telling import tell

HI = [{"role": "user", "content": "Hi"}]
SAY = {
    "modelId": "anthropic.claude-3-5-haiku-20241022-v1:0",
    "messages": [{"role": "user", "content": [{"text": "Hi"}]}],
}
# Which of the two ways to prove who it is boto3 prefers differs between its versions: each client is told one.
BEARER = Config(auth_scheme_preference="httpBearerAuth")
SIGNED = Config(auth_scheme_preference="aws.auth#sigv4")
KEYS = ("AWS_BEARER_TOKEN_BEDROCK", "CO_API_KEY", "MISTRAL_API_KEY", "OLLAMA_API_KEY")

tell("keys", [os.environ[name] for name in KEYS])
reply = boto3.client("bedrock-runtime", region_name="us-east-1", config=BEARER).converse(**SAY)
tell("bedrock", reply["output"]["message"]["content"][0]["text"])
del os.environ["AWS_BEARER_TOKEN_BEDROCK"]
signing = boto3.client(
    "bedrock-runtime",
    region_name="us-east-1",
    config=SIGNED,
    aws_access_key_id="AKIAFAKEFAKEFAKEFAKE",
    aws_secret_access_key="fake",
)
tell("bedrock signed", signing.converse(**SAY)["output"]["message"]["content"][0]["text"])
reply = cohere.ClientV2().chat(model="command-a-03-2025", messages=HI)
tell("cohere", reply.message.tool_calls[0].function.name)
with Mistral(api_key=os.environ["MISTRAL_API_KEY"]) as client:
    reply = client.chat.complete(model="mistral-small-latest", messages=HI)
tell("mistral", reply.choices[0].message.tool_calls[0].function.name)
tell("ollama", ollama.Client().chat(model="llama3.2", messages=HI).message.tool_calls[0].function.name)
