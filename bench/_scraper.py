"""``python -m bench._scraper URL``: scrapes once for every line of standard input, which says in which coding."""

import sys
from http.client import HTTPConnection
from urllib.parse import urlsplit

if __name__ == "__main__":
    url = urlsplit(sys.argv[1])
    assert url.hostname is not None
    connection = HTTPConnection(url.hostname, url.port)
    for line in sys.stdin:
        connection.request("GET", url.path, headers={"Accept-Encoding": line.strip()})
        answer = connection.getresponse()
        size = len(answer.read())
        assert answer.status == 200
        print(size, flush=True)
