// nothing
const key = "[[slack-webhook]]";
