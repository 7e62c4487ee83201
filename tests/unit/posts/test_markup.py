"""HTML to text: what a reader of the network sees, and nothing that takes long or fails."""

import pytest

from mynah.posts.markup import html_to_text

MANY = 8_000


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("", ""),
        ("plain  words\n here", "plain words here"),
        ("<p>one</p><p>two</p>", "one\n\ntwo"),
        ("one<p>two<p>three", "one\n\ntwo\n\nthree"),
        ("<p>a<br>b<br />\nc</p>", "a\nb\nc"),
        ("<p>a <b>b</b>c <i> d</i> e</p>", "a bc d e"),
        ("a &amp; b &lt;3 &#39;c&#x27; &eacute;", "a & b <3 'c' \u00e9"),
        ("a<script>var x = '<p>';</script>b<style>p {}</style>c", "abc"),
        ("a<!-- <p>no</p> -->b<!doctype html>c<?xml?>d", "abcd"),
        ("<h1>Title</h1><div>line</div><div>line</div>", "Title\n\nline\nline"),
        ("<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>", "a b\nc"),
    ],
)
def test_lines_paragraphs_and_entities(html, text):
    assert html_to_text(html) == text


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<ul><li>a</li><li>b</li></ul>c", "- a\n- b\n\nc"),
        ("<ul>\n<li><p>a</p></li>\n</ul>", "- a"),
        ("<ol start='3'><li>a<li>b</ol>", "3. a\n4. b"),
        ("<ul><li>a<ul><li>b</li></ul></li><li>c</li></ul>", "- a\n  - b\n- c"),
        ("<blockquote><p>a<br>b</p><p>c</p></blockquote><p>d</p>", "> a\n> b\n>\n> c\n\nd"),
        ("<blockquote>a<blockquote>b</blockquote></blockquote>c", "> a\n>\n> > b\n\nc"),
    ],
)
def test_lists_and_quotes_keep_their_marks(html, text):
    assert html_to_text(html) == text


def test_code_keeps_its_lines_and_indentation():
    html = "<p>see<p><pre><code>  def f():\n\n    return 1\n</code></pre>\nafter"
    assert html_to_text(html) == "see\n\n  def f():\n\n    return 1\n\nafter"
    highlighted = (
        '<div class="codehilite" data-code-language="Lean4"><pre><span></span><code>'
        '<span class="kn">def</span><span class="w"> </span><span class="n">x</span>\n'
        '<span class="w">  </span>y\n</code></pre></div>'
    )
    assert html_to_text(highlighted) == "def x\n  y"
    assert html_to_text("<blockquote><pre>a\nb</pre></blockquote>") == "> a\n> b"
    assert html_to_text("<pre>\na</pre>") == "a"


@pytest.mark.parametrize(
    ("html", "text"),
    [
        # Mastodon hides the ends of a long URL by style; all of it is in the text.
        (
            '<a href="https://ex.org/a/b?c=1" rel="nofollow"><span class="invisible">https://'
            '</span><span class="ellipsis">ex.org/a</span><span class="invisible">/b?c=1</span>'
            "</a>",
            "https://ex.org/a/b?c=1",
        ),
        ('<a href="https://ex.org/a/b"><span class="ellipsis">ex.org/a</span></a>.', None),
        # Hacker News cuts the text.
        ('<a href="https:&#x2F;&#x2F;ex.org&#x2F;a&#x2F;b">https:&#x2F;&#x2F;ex.org...</a>.', None),
        ('<a href="https://www.ex.org/a/b">ex.org/a\u2026</a>.', None),
        ('<a href="https://ex.org">a label</a>', "a label"),
        ('<a href="https://ex.org">and so on...</a>', "and so on..."),
        ('<a href="javascript:x()">x...</a>', "x..."),
        ('<a href="https://ex.org/a.png"><img src="a.png"></a>', ""),
        (
            '<span class="h-card"><a href="https://ex.org/@bob">@<span>bob</span></a></span> '
            '<a href="https://ex.org/tags/tea" rel="tag">#<span>tea</span></a>',
            "@bob #tea",
        ),
    ],
)
def test_links_show_the_whole_url_once_or_their_label(html, text):
    if text is None:
        text = "https://www.ex.org/a/b." if "www" in html else "https://ex.org/a/b."
    assert html_to_text(html) == text


def formula(tex, display=""):
    return (
        f'<span class="katex"><span class="katex-mathml"><math{display}><semantics><mrow>'
        "<mi>x</mi><mo>=</mo></mrow>"
        f'<annotation encoding="application/x-tex">{tex}</annotation></semantics></math></span>'
        '<span class="katex-html" aria-hidden="true"><span class="base">x<span>=</span></span>'
        "</span></span>"
    )


def test_formulas_are_their_tex_source():
    assert html_to_text(f"<p>so {formula('x &lt; y')}, then</p>") == "so $x < y$, then"
    block = ' xmlns="http://www.w3.org/1998/Math/MathML" display="block"'
    assert html_to_text(f"<p>{formula('x^2', block)}</p>") == "$$x^2$$"
    assert html_to_text("<math><mi>a</mi><mo>+</mo><mi>b</mi></math>") == "a+b"


def test_emoji_mentions_spoilers_and_previews_of_zulip():
    emoji = '<span aria-label="smile" class="emoji emoji-1f604" role="img">:smile:</span> yes'
    assert html_to_text(emoji) == "\U0001f604 yes"
    flag = '<span class="emoji emoji-1f1e9-1f1ea" title="flag">:flag:</span>'
    assert html_to_text(flag) == "\U0001f1e9\U0001f1ea"
    assert html_to_text('<span class="emoji emoji-d800">:odd:</span>') == ":odd:"
    image = 'a <img alt=":tea:" class="emoji" src="t.png" title="tea"> b <img alt="photo">'
    assert html_to_text(image) == "a :tea: b"
    assert html_to_text('<span class="user-mention" data-user-id="1">@Ada</span> hi') == "@Ada hi"
    spoiler = (
        '<div class="spoiler-block"><div class="spoiler-header"><p>head</p></div>'
        '<div class="spoiler-content" aria-hidden="true"><p>body</p></div></div>'
    )
    assert html_to_text(spoiler) == "head\n\nbody"
    preview = '<p>see</p><div class="message_embed"><div>a</div>another page</div><p>on</p>'
    assert html_to_text(preview) == "see\n\non"


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("a < b > c <3 <", "a < b > c <3 <"),
        ("<p title=it's>don't</p>", "don't"),
        ('<a href="never closed', '<a href="never closed'),
        ("<b", "<b"),
        ("a</p", "a"),
        ("a<!-- never closed", "a"),
        ("a<script>never closed", "a"),
        ("</ul></blockquote></pre></a></math>a", "a"),
        ("&#" + "9" * 5000 + ";x&#xffffffffff;&#0;&#xd800;", "\ufffdx" + "\ufffd" * 3),
        ("<ol start='99999999999'><li>a</ol>", "1. a"),
        ("\x00<\x00p>\x01", "\x00<\x00p>\x01"),
    ],
)
def test_broken_html_loses_no_words_and_never_fails(html, text):
    assert html_to_text(html) == text


@pytest.mark.parametrize(
    "piece",
    [
        *("<", "<a", '<a "', '<a ="', "<a ='>", "<a =\" '", "<a x=\"'>", '<a href="x">'),
        *("<!--", "</", "<![CDATA[", "<script>", "&#1", "&", "\n > ", "<pre>\n", "<math>"),
        *("<div>", "<blockquote>a", "<ul><li>", "<p><span><a href=x>", "<span class='katex-html'>"),
    ],
)
@pytest.mark.parametrize("end", ["", ">"])
def test_hostile_nesting_ends_soon_and_stays_small(piece, end):
    # Anything quadratic takes minutes here; what deep quotes add to a line is bounded.
    assert len(html_to_text(piece * MANY + end)) <= 20 * MANY * len(piece) + 10
