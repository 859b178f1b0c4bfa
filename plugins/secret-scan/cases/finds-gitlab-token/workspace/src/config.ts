// nothing
const key = "[[gitlab-token]]";
