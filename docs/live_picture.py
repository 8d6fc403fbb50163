"""Makes the README's picture of the live page: `python docs/live_picture.py`, a quarter of a minute, with Chromium.

A server in mode blocking, five requests, and five more that wait just now.
"""

import base64
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))

import chromium  # noqa: E402  a headless browser, as the tests drive it
from servers import serving  # noqa: E402

FIVE = "document.querySelector('.send [value=\"5\"]').click()"


def main() -> None:
    """Draw it."""
    program = chromium.found()
    if program is None:
        sys.exit("This needs Chromium or Chrome.")
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder) / "server", mode="blocking", duration=1.0) as server,
        chromium.browser(program, Path(folder)) as browser,
    ):
        browser.show(f"{server.url}/live", 1120, 760)
        for wait_s in (3.0, 8.0):
            time.sleep(wait_s)
            browser.evaluate(FIVE)
        time.sleep(2.6)
        target = HERE / "pictures" / "live.png"
        target.write_bytes(base64.b64decode(browser.call("Page.captureScreenshot")["data"]))
        print(target)


if __name__ == "__main__":
    main()
