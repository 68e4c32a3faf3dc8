import hashlib

import pytest

from lm_pipeline.corpus.word_lists import list_digests, with_lists
from lm_pipeline.errors import InputError
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
