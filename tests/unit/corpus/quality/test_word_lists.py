import hashlib

import pytest

from lm_pipeline.corpus.quality.word_lists import list_digests, with_lists
from lm_pipeline.errors import InputError, SpecError
from lm_pipeline.home import Home
from lm_pipeline.specs.cleaning import Blocklist, Cleaning, UrlRules


@pytest.fixture
def home(tmp_path):
    (tmp_path / "terms.txt").write_text("\ufeff赌博\n\n  free casino \r\n", "utf-8")
    (tmp_path / "domains.txt").write_text("bad.example\n", "utf-8")
    return Home(tmp_path / "data")


def test_files_are_read_one_entry_a_line(home):
    cleaning = Cleaning(blocklist=Blocklist(terms=("x",), files=("terms.txt",)), urls=UrlRules(files=("domains.txt",)))
    listed = with_lists(cleaning, home)
    assert listed.blocklist.terms == ("x", "赌博", "free casino")
    assert listed.urls.blocked_domains == ("bad.example",)
    assert (listed.blocklist.files, listed.urls.files) == ((), ())
    assert with_lists(Cleaning(), home) == Cleaning()


def test_lists_of_domains_come_in_several_forms(home):
    hosts = "255.255.255.255 broadcasthost\nfe80::1%lo0 localhost\n# hosts\n0.0.0.0 a.example b.example # two\n"
    adblock = "[Adblock Plus 2.0]\n! adblock\n||c.example^$third-party\n"
    lines = f"{hosts}{adblock}https://d.example/\n\n例子.中国\n"
    (home.root.parent / "domains.txt").write_text(lines, "utf-8")
    rules = UrlRules(files=("domains.txt",), blocked_domains=("*.e.example:8080", "2001:db8::1"))
    assert with_lists(Cleaning(urls=rules), home).urls.blocked_domains == (
        "e.example", "2001:db8::1", "a.example", "b.example", "c.example", "d.example", "xn--fsqu00a.xn--fiqs8s"
    )  # fmt: skip


@pytest.mark.parametrize("line", ["bad example", "https://d.example/赌博/", "/banner/*", "@@||good.example^", "*.*"])
def test_a_line_that_names_no_host_is_refused_with_file_and_line(home, line):
    (home.root.parent / "domains.txt").write_text(f"good.example\n{line}\n", "utf-8")
    with pytest.raises(InputError, match=r"domains\.txt:2: .* names no host"):
        with_lists(Cleaning(urls=UrlRules(files=("domains.txt",))), home)
    with pytest.raises(SpecError, match="names no host"):
        with_lists(Cleaning(urls=UrlRules(blocked_domains=(line,))), home)


def test_their_digests_change_with_them(home):
    cleaning = Cleaning(blocklist=Blocklist(files=("terms.txt",)))
    assert list_digests(cleaning, home) == {
        "terms.txt": hashlib.sha256((home.root.parent / "terms.txt").read_bytes()).hexdigest()
    }
    assert list_digests(Cleaning(), home) == {}


@pytest.mark.parametrize(("content", "problem"), [(None, "cannot be read"), (b"\xff\xfe", "is no UTF-8")])
def test_a_list_that_cannot_be_read_is_named_with_where_it_was_looked_for(home, content, problem):
    if content:
        (home.root.parent / "bad.txt").write_bytes(content)
    with pytest.raises(InputError, match=problem) as error:
        with_lists(Cleaning(blocklist=Blocklist(files=("bad.txt",))), home)
    assert str(home.root.parent / "bad.txt") in str(error.value)
