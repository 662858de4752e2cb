"""Files of class names: three forms told apart by content; no other text becomes names."""

import pytest

from nanoseg.bundle.labels import read_labels
from nanoseg.errors import UsageError

NAMED = {
    "lines": "nut\nhex bolt\n",
    "lines of windows": "\ufeffnut\r\nhex bolt\r\n",
    "lines with a comment": "# my parts\nnut\n\nhex bolt\n",
    "lines with ids": "0 nut\n1 hex bolt\n",
    "lines with numbers": "1. nut\n2. hex bolt\n",
    "one line": "nut, hex bolt\n",
    "csv": "1,hex bolt\n0,nut\n",
    "csv with a header": "id;name\n0;nut\n1;hex bolt\n",
    "json list": '["nut", "hex bolt"]',
    "json ids": '{"1": "hex bolt", "0": "nut"}',
    "json names to ids": '{"hex bolt": 1, "nut": 0}',
    "json names": '{"nc": 2, "names": ["nut", "hex bolt"]}',
    "coco": '{"images": [], "categories": [{"id": 7, "name": "hex bolt"}, {"id": 2, "name": "nut"}]}',
    "coco categories": '[{"id": 1, "name": "nut"}, {"id": 2, "name": "hex bolt"}]',
    "yaml mapping": "path: ../data  # here\ntrain: images\n\nnames:\n  0: nut\n  1: hex bolt\nnc: 2\n",
    "yaml mapping quoted": "names:\n  1: 'hex bolt'\n  0: \"nut\"\n",
    "yaml list": "nc: 2\nnames:\n- nut\n- hex bolt\n",
    "yaml list indented": "---\nnames:   # both\n  - nut\n  - 'hex bolt'  # the long one\n",
    "yaml in brackets": "names: ['nut', hex bolt]\nnc: 2\n",
    "yaml in brackets of two lines": "names: [ 'nut',\n         'hex bolt' ]\nnc: 2\n",
    "yaml in braces": "names: {0: nut, 1: hex bolt}\n",
    "yaml in brackets with a last comma": "names: [nut, 'hex bolt',]  # 2\n",
    "yaml list alone": "- nut\n- hex bolt\n",
    "yaml mapping alone": "0: nut\n1: hex bolt\n",
}
REFUSED = {
    "csv with a gap": ("1,nut\n3,bolt\n", "its lines were not taken for names"),
    "csv of other columns": ("name,id\nnut,0\nbolt,1\n", "its lines were not taken for names"),
    "csv of three columns": ("0,/m/1,nut\n1,/m/2,bolt\n", "its lines were not taken for names"),
    "toml": ('names = ["nut", "bolt"]\n', "its lines were not taken for names"),
    "settings": ("classes=2\nnames=obj.names\n", "its lines were not taken for names"),
    "configuration": ("train: a\nval: b\n", "wanted one name a line, JSON, or YAML with names:"),
    "configuration of two lines": ("lr: 0.1\nsteps: 2\n", "its lines were not taken for names"),
    "gap": ("names:\n  0: nut\n  2: bolt\n", "wanted one name a line"),
    "from one": ("1: nut\n2: bolt\n", "wanted one name a line"),
    "anchor": ("names: &all [nut, bolt]\n", "wanted one name a line"),
    "nested": ("names:\n  0:\n    nut\n  1: bolt\n", "wanted one name a line"),
    "block text": ("names: |\n  nut\n  bolt\n", "wanted one name a line"),
    "protobuf text": ("item {\n  id: 1\n  name: 'nut'\n}\n", "wanted one name a line"),
    "json of numbers": ('{"a": 0.5}', "wanted one name a line"),
    "json that is cut": ('["nut", "bo', "not JSON: Unterminated string"),
    "json nested": ("[" * 5000, "nested too deep"),
    "twice": ("nut\nbolt\nnut\n", "the name 'nut' is there twice"),
    "a class without a name": ('["nut", "", "bolt"]', "class 1 has no name; wanted one for each class id"),
    "a class without a name in yaml": ("names:\n  0: nut\n  1: ''\n", "class 1 has no name"),
    "web page": ("<!DOCTYPE html>\n<html>\n</html>", "it is a web page"),
    "pointer": ("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "it is a Git LFS pointer"),
    "unclosed quote": ("names: [nut, 'bolt]\n", "wanted one name a line"),
    "list in a list": ("names: [nut, [bolt]]\n", "wanted one name a line"),
    "long blank line": ("a" + " " * 200_000 + "b\n- c", "wanted one name a line"),
    "empty list": ("names: []\n", "wanted one name a line"),
}


@pytest.mark.parametrize("name", ["labels.txt", "data.yaml", "labels"])
@pytest.mark.parametrize("text", NAMED.values(), ids=NAMED)
def test_label_file(tmp_path, text, name):
    (tmp_path / name).write_bytes(text.encode())
    assert read_labels(str(tmp_path / name)) == ("nut", "hex bolt")


@pytest.mark.parametrize(("text", "message"), REFUSED.values(), ids=REFUSED)
def test_label_file_refused(tmp_path, text, message):
    (tmp_path / "labels.txt").write_text(text)
    with pytest.raises(UsageError) as raised:
        read_labels(str(tmp_path / "labels.txt"))
    assert str(raised.value).startswith(f"--labels: {tmp_path / 'labels.txt'}: ")
    assert message in str(raised.value)


@pytest.mark.parametrize(("encoding", "message"), [("utf-16", "cannot be read as text|UTF-16"), ("latin-1", "0xfc")])
def test_label_file_of_another_encoding(tmp_path, encoding, message):
    (tmp_path / "labels.txt").write_bytes("Mütze\nSchal\n".encode(encoding))
    with pytest.raises(UsageError, match=message):
        read_labels(str(tmp_path / "labels.txt"))


def test_label_file_keeps_apostrophes_and_signs(tmp_path):
    (tmp_path / "a.yaml").write_text("names: [driver's cab, \"a, b\", C#, 'it''s']\n")
    assert read_labels(str(tmp_path / "a.yaml")) == ("driver's cab", "a, b", "C#", "it's")


@pytest.mark.parametrize("names", [("1 euro", "2 euro"), ("2 door", "4 door"), ("7up", "nut"), ("0", "1")])
def test_label_file_keeps_numbers_of_names(tmp_path, names):
    (tmp_path / "a.txt").write_text("\n".join(names))
    assert read_labels(str(tmp_path / "a.txt")) == names
