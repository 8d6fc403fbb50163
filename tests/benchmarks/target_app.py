"""The servers that load generators are compared on: `python target_app.py noop|background|busy|nginx PORT`."""

import os
import sys
import tempfile
import time
from pathlib import Path

import uvicorn
from fastapi import BackgroundTasks, FastAPI

BUSY_S = 0.002

NGINX = """
daemon off; worker_processes 1; pid {folder}/pid; error_log stderr crit;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 100000000;
  client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c;
  uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{ default_type application/json; return 200 '{{"message":"Hello World!"}}'; }}
  }}
}}
"""

app = FastAPI()


def work(message: str) -> None:
    """Stand for the tutorial's work, of no length."""


async def noop() -> dict[str, str]:
    return {"message": "Hello World!"}


async def background(background_tasks: BackgroundTasks) -> dict[str, str]:
    background_tasks.add_task(work, "hello")
    return {"message": "Hello World!"}


async def busy() -> dict[str, str]:
    end = time.perf_counter() + BUSY_S
    while time.perf_counter() < end:
        pass
    return {"message": "Hello World!"}


if __name__ == "__main__":
    kind, port = sys.argv[1:]
    if kind == "nginx":
        folder = tempfile.mkdtemp()
        configuration = Path(folder, "nginx.conf")
        configuration.write_text(NGINX.format(folder=folder, port=port))
        os.execvp("nginx", ["nginx", "-p", folder, "-c", str(configuration)])
    endpoint = globals()[kind]
    app.get("/", response_model=None)(endpoint)  # as an endpoint without annotations has it
    uvicorn.run(app, port=int(port), log_level="error", access_log=False, ws="none", proxy_headers=False)
