"""An object store on this machine that speaks S3 over HTTP, and may refuse or go away."""

import logging
import threading

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

REFUSAL = (
    b'<?xml version="1.0" encoding="UTF-8"?>'
    b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
)
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "reader",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_MAX_ATTEMPTS": "1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


class ObjectStore:
    """Holds its objects in memory, whether it is open or not.

    Attributes
    ----------
    refused
        Methods that are answered by "access denied".
    seen
        Method and path of every request.
    """

    def __init__(self):
        logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
        self.backend = DomainDispatcherApplication(create_backend_app)
        self.refused, self.seen, self.port = (), [], 0
        self.open()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def open(self):
        """Answer, at the same address as before."""
        self.server = make_server("127.0.0.1", self.port, self, threaded=True)
        self.port = self.server.port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        """Answer nobody any more, until it is opened again."""
        self.server.shutdown()
        self.server.server_close()

    def __call__(self, environ, start):
        method = environ["REQUEST_METHOD"]
        self.seen.append((method, environ["PATH_INFO"]))
        if method in self.refused:
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start("403 Forbidden", [("Content-Type", "application/xml")])
            return [REFUSAL]
        return self.backend(environ, start)
