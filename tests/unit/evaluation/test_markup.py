"""The HTML of the report."""

from gradleak.evaluation import markup


def test_text_is_escaped_in_attributes_too():
    assert markup.escape("<a href='x'>&") == "&lt;a href=&#x27;x&#x27;&gt;&amp;"


def test_a_table_has_a_head_only_if_given_one():
    rows = [markup.row([markup.text_cell("a"), markup.number_cell("1")], " id='r'")]
    assert markup.table("", rows) == (
        "<div class='wrap'><table><tbody><tr id='r'><td class='w'>a</td><td>1</td></tr></tbody></table></div>"
    )
    head = markup.text_heads("name") + markup.number_heads("value")
    assert "<table id='t'><thead><tr><th class='w'>name</th><th>value</th></tr></thead>" in markup.table(
        head, rows, "t"
    )


def test_a_figure_holds_its_picture(tmp_path):
    (tmp_path / "seeds.png").write_bytes(b"picture")
    html = markup.figure(tmp_path / "seeds.png", "What <it> shows.")
    assert "data:image/png;base64,cGljdHVyZQ==" in html
    assert html.count("What &lt;it&gt; shows.") == 2
    assert "id='figure-seeds'" in html
