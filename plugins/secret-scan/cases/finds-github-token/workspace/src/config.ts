// nothing
const key = "[[github-token]]";
