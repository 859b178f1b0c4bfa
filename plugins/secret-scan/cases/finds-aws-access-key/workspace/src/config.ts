// nothing
const key = "[[aws-access-key]]";
