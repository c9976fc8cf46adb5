"""boto3 at Bedrock: Converse, and InvokeModel with Claude's own body; whole and streamed."""

import base64
import json

import boto3
from answering import SCHEMA, results, serve, turn
from botocore.config import Config
from botocore.exceptions import ClientError

client = boto3.client("bedrock-runtime", region_name="us-east-1", config=Config(retries={"total_max_attempts": 1}))


def collected(events):
    """What a converse_stream says, as converse would have."""
    blocks, texts, end, usage = {}, {}, None, None
    for event in events:
        if "contentBlockStart" in event:
            start = event["contentBlockStart"]
            blocks[start["contentBlockIndex"]] = dict(start["start"].get("toolUse", {}))
        elif "contentBlockDelta" in event:
            place, delta = event["contentBlockDelta"]["contentBlockIndex"], event["contentBlockDelta"]["delta"]
            block = blocks.setdefault(place, {})
            if "toolUse" in delta:
                texts[place] = texts.get(place, "") + delta["toolUse"]["input"]
            elif "reasoningContent" in delta:
                for key, value in delta["reasoningContent"].items():
                    block[key] = block.get(key, "" if isinstance(value, str) else b"") + value
                block["thinks"] = True
            else:
                block["text"] = block.get("text", "") + delta["text"]
        elif "messageStop" in event:
            end = event["messageStop"]["stopReason"]
        elif "metadata" in event:
            usage = event["metadata"]["usage"]
    content = [whole(blocks[place], texts.get(place)) for place in sorted(blocks)]
    return {"output": {"message": {"role": "assistant", "content": content}}, "stopReason": end, "usage": usage}


def whole(block, arguments):
    if "toolUseId" in block:
        return {"toolUse": {**block, "input": json.loads(arguments or "{}")}}
    if block.pop("thinks", False):
        if "redactedContent" in block:
            return {"reasoningContent": block}
        return {"reasoningContent": {"reasoningText": {"text": "", **block}}}
    return {"text": block.get("text", "")}


def converse(job):
    content = [{"text": job["ask"]}]
    if job["picture"]:
        content.append({"image": {"format": "png", "source": {"bytes": base64.b64decode(job["picture"])}}})
    messages = [{"role": "user", "content": content}]
    asked = {"modelId": job["model"], "messages": messages}
    if job["tools"]:
        specs = [{"toolSpec": {"name": name, "inputSchema": {"json": SCHEMA}}} for name in job["tools"]]
        asked["toolConfig"] = {"tools": specs}
    while True:
        reply = collected(client.converse_stream(**asked)["stream"]) if job["stream"] else client.converse(**asked)
        blocks = reply["output"]["message"]["content"]
        thoughts = [block["reasoningContent"] for block in blocks if "reasoningContent" in block]
        called = [block["toolUse"] for block in blocks if "toolUse" in block]
        usage = reply["usage"]
        given = usage["inputTokens"] + usage.get("cacheReadInputTokens", 0) + usage.get("cacheWriteInputTokens", 0)
        yield turn(
            text="".join(block.get("text", "") for block in blocks),
            thought="".join(each.get("reasoningText", {}).get("text", "") for each in thoughts),
            calls=[(each["name"], each["input"]) for each in called],
            end=reply["stopReason"],
            tokens=(given, usage["outputTokens"]),
        )
        if not called or job["results"] is None:
            return
        returned = results(job)
        answers = [{"toolUseId": each["toolUseId"], "content": [{"text": next(returned)}]} for each in called]
        messages.append(reply["output"]["message"])
        messages.append({"role": "user", "content": [{"toolResult": answer} for answer in answers]})


def accumulated(events):
    """What Claude's events say, as its whole message would have."""
    message, pieces = None, {}
    for event in events:
        if event["type"] == "message_start":
            message = event["message"]
        elif event["type"] == "content_block_start":
            message["content"].append(event["content_block"])
        elif event["type"] == "content_block_delta":
            place, delta = event["index"], dict(event["delta"])
            kind = delta.pop("type")
            if kind == "input_json_delta":
                pieces[place] = pieces.get(place, "") + delta["partial_json"]
                continue
            for key, value in delta.items():
                message["content"][place][key] = message["content"][place].get(key, "") + value
        elif event["type"] == "message_delta":
            message |= event["delta"]
            message["usage"] |= event["usage"]
        elif event["type"] == "message_stop":
            for place, text in pieces.items():
                message["content"][place]["input"] = json.loads(text or "{}")
            return message
    raise EOFError("the stream has ended before its message")


def invoke(job):
    content = [{"type": "text", "text": job["ask"]}]
    if job["picture"]:
        source = {"type": "base64", "media_type": "image/png", "data": job["picture"]}
        content.append({"type": "image", "source": source})
    messages = [{"role": "user", "content": content}]
    body = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 512, "messages": messages}
    if job["tools"]:
        body["tools"] = [{"name": name, "input_schema": SCHEMA} for name in job["tools"]]
    while True:
        asked = {"modelId": job["model"], "body": json.dumps(body)}
        if job["stream"]:
            chunks = client.invoke_model_with_response_stream(**asked)["body"]
            reply = accumulated([json.loads(each["chunk"]["bytes"]) for each in chunks])
        else:
            reply = json.load(client.invoke_model(**asked)["body"])
        called = [block for block in reply["content"] if block["type"] == "tool_use"]
        usage = reply["usage"]
        cached = [usage.get(f"cache_{way}_input_tokens") or 0 for way in ("read", "creation")]
        yield turn(
            text="".join(block["text"] for block in reply["content"] if block["type"] == "text"),
            thought="".join(block["thinking"] for block in reply["content"] if block["type"] == "thinking"),
            calls=[(each["name"], each["input"]) for each in called],
            end=reply["stop_reason"],
            tokens=(usage["input_tokens"] + sum(cached), usage["output_tokens"]),
            model=reply["model"],
        )
        if not called or job["results"] is None:
            return
        returned = results(job)
        answers = [{"type": "tool_result", "tool_use_id": each["id"], "content": next(returned)} for each in called]
        messages += [{"role": "assistant", "content": reply["content"]}, {"role": "user", "content": answers}]


def status_of(error):
    """An error in a stream has none."""
    response = error.response if isinstance(error, ClientError) else {}
    return response.get("ResponseMetadata", {}).get("HTTPStatusCode")


serve({"converse": converse, "invoke": invoke}, status_of)
