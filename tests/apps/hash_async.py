"""A password is hashed in an `async def`: C that computes without the interpreter."""

import hashlib

from fastapi import FastAPI

app = FastAPI()


@app.get("/")
async def login() -> str:
    return hashlib.pbkdf2_hmac("sha256", b"secret", b"salt", 2_000_000).hex()
