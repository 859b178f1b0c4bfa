// nothing
const key = "[[pypi-token]]";
