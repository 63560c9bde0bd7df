"""A provider of identities for tests: oidc-provider-mock, which wants clients to be registered.

Prints its address when it listens.
"""

import logging
import os
import sys
import threading

import oidc_provider_mock
from werkzeug.serving import make_server

logging.getLogger("werkzeug").setLevel(logging.ERROR)
# Nothing leaves this machine.
os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"
app = oidc_provider_mock.app(require_client_registration=True, require_nonce=True)
server = make_server("127.0.0.1", 0, app, threaded=True)
print(f"http://127.0.0.1:{server.server_port}", flush=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
# The tests close this program's input when they are over.
sys.stdin.read()
