"""Makes the pictures of the README and the docs from real runs: `python docs/pictures.py [NAME ...]`, about a minute.

Each is the terminal's final screen as SVG, drawn from the result of the very command in its title.
"""

import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent / "pictures"
COMMANDS: Final = {
    "compare": "taskdemo compare --count 5 --duration 1 --modes blocking,threadpool,background,process",
}


def draw(name: str) -> Path:
    """Run the command of this name, and return the picture of what it printed."""
    from taskdemo_cli.reports import files
    from taskdemo_cli.reports.svg import picture

    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        command = [str(Path(sys.executable).with_name("taskdemo")), *shlex.split(COMMANDS[name])[1:]]
        subprocess.run([*command, "--save", str(result)], check=True, stdout=subprocess.DEVNULL)
        document = files.load(result)
    target = HERE / f"{name}.svg"
    target.parent.mkdir(exist_ok=True)
    target.write_text(picture(document, COMMANDS[name], width=88), encoding="utf-8")
    return target


if __name__ == "__main__":
    for name in sys.argv[1:] or COMMANDS:
        print(draw(name))
