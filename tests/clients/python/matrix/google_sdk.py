"""google-genai: generate_content, whole and streamed."""

import base64

from answering import SCHEMA, results, serve, turn
from google import genai
from google.genai import types

client = genai.Client()


def generate(job):
    parts = [types.Part(text=job["ask"])]
    if job["picture"]:
        parts.append(types.Part.from_bytes(data=base64.b64decode(job["picture"]), mime_type="image/png"))
    contents = [types.Content(role="user", parts=parts)]
    declared = [types.FunctionDeclaration(name=name, parameters_json_schema=SCHEMA) for name in job["tools"]]
    config = types.GenerateContentConfig(
        tools=[types.Tool(function_declarations=declared)] if declared else None,
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
    )
    asked = {"model": job["model"], "contents": contents, "config": config}
    while True:
        if job["stream"]:
            replies = list(client.models.generate_content_stream(**asked))
        else:
            replies = [client.models.generate_content(**asked)]
        answered, end, usage = [], None, None
        for reply in replies:
            usage = reply.usage_metadata or usage
            for candidate in reply.candidates or ():
                answered += (candidate.content.parts if candidate.content else None) or []
                end = candidate.finish_reason.name if candidate.finish_reason else end
        called = [part.function_call for part in answered if part.function_call]
        made = (usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0)
        yield turn(
            text="".join(part.text or "" for part in answered if not part.thought),
            thought="".join(part.text or "" for part in answered if part.thought),
            calls=[(each.name, each.args or {}) for each in called],
            end=end,
            tokens=((usage.prompt_token_count or 0) + (usage.tool_use_prompt_token_count or 0), made),
            model=replies[-1].model_version,
        )
        if not called or job["results"] is None:
            return
        returned = results(job)
        responses = [
            types.FunctionResponse(id=each.id, name=each.name, response={"output": next(returned)}) for each in called
        ]
        contents.append(types.Content(role="model", parts=answered))
        contents.append(types.Content(role="user", parts=[types.Part(function_response=each) for each in responses]))


serve({"generate": generate})
