"""Pages are taken apart as GitHub shows them."""

from tests.docs.pages import PAGES, ROOT, slug, taken_apart

TEXT = """\
# One `two`, three!

A [link](a.md#b) and `code`
in ![two lines](picture.png), <a id="here"></a>.

| a | `b` |
|---|---|
| [c](<d e.md>) | `x \\| y` |

## 配置：密钥

## One `two`, three!

- item
  ```yaml
  a: 1
  ```
"""


def test_everything_is_found_with_its_line() -> None:
    page = taken_apart(TEXT)
    assert [(heading.level, heading.anchor, heading.line) for heading in page.headings] == [
        (1, "one-two-three", 1),
        (2, "配置密钥", 10),
        (2, "one-two-three-1", 12),
    ]
    assert [(link.target, link.line) for link in page.links] == [("a.md#b", 3), ("picture.png", 4), ("d e.md", 8)]
    assert [(block.language, block.text, block.line) for block in page.blocks] == [("yaml", "a: 1\n", 16)]
    assert [(term.text, term.line) for term in page.terms][1:3] == [("code", 3), ("b", 6)]
    assert page.anchors >= {"here", "配置密钥"}
    assert page.rows == 2


def test_anchors_are_those_of_github() -> None:
    assert slug("What it costs, and how (that) is `measured_now`") == "what-it-costs-and-how-that-is-measured_now"
    assert slug("`poll.interval`") == "pollinterval"


def test_the_pages_that_people_read_first_are_looked_at() -> None:
    assert {"README.md", "README.zh-CN.md", "docs/cli.md", "docs/runbooks/README.md"} <= PAGES.keys()
    assert all((ROOT / name).is_file() for name in PAGES)
