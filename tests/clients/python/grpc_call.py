"""Asks Gemini by gRPC, as SDKs with that transport do, and prints how the call ended."""

import sys

import grpc

METHOD = "/google.ai.generativelanguage.v1beta.GenerativeService/GenerateContent"

with grpc.secure_channel("generativelanguage.googleapis.com:443", grpc.ssl_channel_credentials()) as channel:
    call = channel.unary_unary(METHOD)
    try:
        call(b"\x0a\x05hello", metadata=(("x-goog-api-key", sys.argv[1]),), timeout=60)
    except grpc.RpcError as error:
        print(error.code().name)
