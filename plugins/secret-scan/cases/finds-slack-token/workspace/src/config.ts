// nothing
const key = "[[slack-token]]";
