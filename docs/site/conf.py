"""The site: `make docs` builds it into build/site; warnings are errors."""

import re

import rae_fast

project = "rae_fast"
author = "the founders of rae_fast"
release = version = rae_fast.__version__
templates_path = ["_templates"]
extensions = ["sphinx.ext.autodoc", "sphinx.ext.autosummary", "numpydoc", "myst_parser", "sphinx_gallery.gen_gallery"]
html_theme = "furo"
html_title = f"rae_fast {release}"
exclude_patterns = ["sg_execution_times.rst"]
autosummary_generate = True
numpydoc_show_class_members = False
autodoc_typehints = "none"
myst_heading_anchors = 3
myst_enable_extensions = ["deflist"]
html_show_copyright = False
sphinx_gallery_conf = {
    "examples_dirs": "../../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r".*\.py",
    "show_memory": False,
    "capture_repr": (),
    "download_all_examples": False,
    "abort_on_example_error": True,
}
suppress_warnings = ["config.cache"]


def escaped(app, what, name, obj, options, lines):
    """Names that end with an underscore are scikit-learn's for what was fitted, and no references."""
    for i, line in enumerate(lines):
        if not line.lstrip().startswith((">>>", "...")):
            lines[i] = re.sub(r"(?<![\w`])([a-z]\w*[a-z0-9])_(?![\w`])", r"\1\\_", line)


def setup(app):
    app.connect("autodoc-process-docstring", escaped, priority=1000)
