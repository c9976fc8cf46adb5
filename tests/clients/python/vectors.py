"""Cohere's, Ollama's and AWS' clients asking for vectors: `vectors.py CLIENT MODEL…`. What each got is told."""

import json
import sys

import boto3
import cohere
import cohere.core.api_error
import ollama
from botocore.config import Config
from botocore.exceptions import ClientError
from telling import tell

TEXTS = ["one", "two"]


def by_cohere(model):
    reply = cohere.ClientV2().embed(
        model=model, input_type="search_query", texts=TEXTS, embedding_types=["float"], output_dimension=2
    )
    billed = reply.meta.billed_units
    return reply.embeddings.float_, billed and billed.input_tokens


def by_ollama(model):
    reply = ollama.Client().embed(model=model, input=TEXTS, dimensions=2)
    return [list(each) for each in reply.embeddings], reply.prompt_eval_count


def by_bedrock(model):
    client = boto3.client("bedrock-runtime", region_name="us-east-1", config=Config(retries={"total_max_attempts": 1}))
    body = json.dumps({"inputText": "one", "dimensions": 2})
    reply = json.load(client.invoke_model(modelId=model, body=body)["body"])
    return [reply["embedding"]], reply.get("inputTextTokenCount")


CLIENTS = {"cohere": by_cohere, "ollama": by_ollama, "bedrock": by_bedrock}

for model in sys.argv[2:]:
    try:
        tell(model, CLIENTS[sys.argv[1]](model))
    except (cohere.core.api_error.ApiError, ollama.ResponseError) as error:
        tell(model, [error.status_code, str(error)])
    except ClientError as error:
        said = error.response["Error"]
        tell(model, [error.response["ResponseMetadata"]["HTTPStatusCode"], said["Code"], said["Message"]])
