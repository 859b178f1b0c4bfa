// nothing
const key = "[[npm-token]]";
