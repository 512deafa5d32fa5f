from xml.etree.ElementTree import fromstring

from hypothesis import given
from hypothesis import strategies as st

from tapeout.report.markup import element, html, printable, svg


def test_text_stays_text():
    text = '<b onload="x">&amp;'
    out = html(element("p", text, title=text))
    attribute = "<b onload=&quot;x&quot;&gt;&amp;amp;"
    content = '&lt;b onload="x"&gt;&amp;amp;'
    assert out == f'<!doctype html>\n<p title="{attribute}">{content}</p>\n'


def test_children_and_text_keep_their_order():
    out = html(element("p", "one ", element("b", "two"), " three", " four", class_="x"))
    assert out == '<!doctype html>\n<p class="x">one <b>two</b> three four</p>\n'


def test_characters_that_steer_are_shown_by_number():
    assert printable("a\x1b[31m\u202eb\u200bc\ud800\n\t") == (
        "a[U+001B][31m[U+202E]b[U+200B]c[U+D800]\n\t"
    )


@given(st.text())
def test_any_text_makes_a_well_formed_picture(text: str):
    root = fromstring(svg(element("svg", element("text", text), viewBox="0 0 1 1"), "a { b: c }"))
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert root.get("viewBox") == "0 0 1 1"
    assert (root[1].text or "") == printable(text)
