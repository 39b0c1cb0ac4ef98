"""A headless Chromium driven through WebDriver, with the standard library alone."""

import base64
import json
import shutil
import subprocess
import time
import urllib.request
from contextlib import contextmanager

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run")
_FLAGS += ("--disable-component-update", "--disable-sync", "--hide-scrollbars", "--disable-dev-shm-usage")
# no name resolves: a page that wants anything from outside fails visibly
_FLAGS += ("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",)


def missing():
    """What is lacking to run a browser, or None."""
    if not any(shutil.which(name) for name in BROWSERS):
        return "no Chromium on this machine (apt-get install chromium)"
    if not shutil.which("chromedriver"):
        return "no chromedriver on this machine (apt-get install chromium-driver)"
    return None


class Browser:
    """One tab."""

    def __init__(self, base, session):
        self._url = f"{base}/session/{session}"

    def _call(self, path, **body):
        return _request(f"{self._url}/{path}", body)

    def open(self, path):
        self._call("url", url=path.as_uri())

    def run(self, script, *arguments):
        return self._call("execute/sync", script=script, args=list(arguments))

    def press(self, key):
        keys = [{"type": "keyDown", "value": key}, {"type": "keyUp", "value": key}]
        self._call("actions", actions=[{"type": "key", "id": "keys", "actions": keys}])

    def console(self):
        return self._call("se/log", type="browser")

    def picture(self, path):
        with urllib.request.urlopen(f"{self._url}/screenshot", timeout=120) as answer:
            path.write_bytes(base64.b64decode(json.load(answer)["value"]))


def _request(url, body):
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.load(answer)["value"]


@contextmanager
def browser(profile, width=1000, height=900, scale=1.0):
    """A browser of that size (CSS pixels, each of `scale` pixels), with a profile of its own."""
    binary = next(path for path in map(shutil.which, BROWSERS) if path)
    driver = subprocess.Popen(
        [shutil.which("chromedriver"), "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    base = session = None
    try:
        while base is None:
            line = driver.stdout.readline()
            assert line, "chromedriver did not start"
            if "successfully on port" in line:
                base = f"http://127.0.0.1:{line.rstrip().rstrip('.').split()[-1]}"
        metrics = {"width": width, "height": height, "pixelRatio": scale, "touch": False}
        options = {
            "binary": binary,
            "args": [*_FLAGS, f"--user-data-dir={profile}"],
            "mobileEmulation": {"deviceMetrics": metrics},
        }
        capabilities = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        session = _request(f"{base}/session", {"capabilities": {"alwaysMatch": capabilities}})["sessionId"]
        yield Browser(base, session)
    finally:
        if session:
            request = urllib.request.Request(f"{base}/session/{session}", method="DELETE")
            urllib.request.urlopen(request, timeout=60).close()
            time.sleep(0.2)
        driver.terminate()
        driver.wait(timeout=30)
        driver.stdout.close()
